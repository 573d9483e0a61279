-- needs: common rates
-- An operator's limits for a relay, instead of those that it had. ARGV: relay, then nothing, or their text, the relay's
-- own part of it as it is written, and for each holder its name and limits.

local relay = ARGV[FIRST]
local key = rate_key("set", relay)

call("DEL", key)
if #ARGV > FIRST then
  call("HSET", key, "@", ARGV[FIRST + 1], "@own", ARGV[FIRST + 2], unpack(ARGV, FIRST + 3))
  call("ZADD", RATES, now, relay)
end
