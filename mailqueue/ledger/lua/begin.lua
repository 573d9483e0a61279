-- needs: common moves
-- The last bytes of these messages are about to go out. Reply, per id: 1, or 0 if the claim is over, or the time is.
-- ARGV: token, then ids.

local token = ARGV[FIRST]

even_when_full()
local reply = {}
for place = FIRST + 1, #ARGV do
  local id = ARGV[place]
  local v = call("HMGET", message(id), "s", "f", "p", "e")
  if v[1] == "sending" and v[2] == token and v[4] and tonumber(v[4]) <= now then
    expire(load(id))
    reply[#reply + 1] = 0
  elseif v[1] == "sending" and v[2] == token then
    if v[3] ~= "begun" then call("HSET", message(id), "p", "begun") end
    enter("leased", id, now + LEASE)
    reply[#reply + 1] = 1
  else
    event("fenced")
    reply[#reply + 1] = 0
  end
end
finish()
return reply
