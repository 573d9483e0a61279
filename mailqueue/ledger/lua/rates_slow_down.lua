-- needs: common rates
-- A relay asks for less mail to a domain. Reply: the new rate in messages a second.
-- ARGV: relay, domain, reason, the domain's limits, whether they name it.

local relay, domain, reason, said = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3]
local exact = ARGV[FIRST + 4] == "1"

even_when_full()
local known = load_slowed(relay)[domain]
if known and now >= known.at and now - known.at < RATE_QUIET then return string.format("%.17g", known.now) end

local base, full
if known then
  base, full = known.now, known.full
else
  local limit = limits_of(load_overrides(relay), domain, said, exact).rate
  local seen = observed(relay, domain)
  base = limit
  if limit == NEVER or seen > 0 then base = math.min(limit, math.max(RATE_LEAST_SEEN, seen)) end
  full = base
end
local rate = string.format("%.17g", math.max(base / 2, RATE_LOWEST))
local value = rate .. " " .. string.format("%.17g", full) .. " " .. string.format("%d", now) .. " " .. reason
call("HSET", rate_key("slow", relay), domain, value)
call("ZADD", RATES, now, relay)
return rate
