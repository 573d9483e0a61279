-- needs: common moves
-- The last bytes of these messages are about to go out. Reply, per id: 1, or 0 if the claim is over, or the time is.
-- ARGV: token, the call's number, then ids.

local token, turn = ARGV[FIRST], tonumber(ARGV[FIRST + 1])

local function begin(id)
  local v = call("HMGET", message(id), "s", "f", "e", "b")
  if v[1] ~= "sending" or v[2] ~= token then
    event("fenced")
    return 0
  end
  if turn <= tonumber(v[4] or 0) then return 1 end -- it arrives once more, late, and nobody listens
  if v[3] and tonumber(v[3]) <= now then
    expire(load(id))
    return 0
  end
  call("HSET", message(id), "p", "begun", "b", turn)
  enter("leased", id, now + LEASE)
  return 1
end

even_when_full()
local reply = {}
for place = FIRST + 2, #ARGV do reply[#reply + 1] = begin(ARGV[place]) end
finish()
return reply
