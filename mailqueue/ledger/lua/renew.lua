-- needs: common
-- Renew leases. Reply, per id: 1, or 0 if the claim is over.
-- ARGV: token, then ids.

local token = ARGV[FIRST]

even_when_full()
local reply = {}
for place = FIRST + 1, #ARGV do
  local v = call("HMGET", message(ARGV[place]), "s", "f")
  if v[1] == "sending" and v[2] == token then
    enter("leased", ARGV[place], now + LEASE)
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
finish()
return reply
