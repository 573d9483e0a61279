-- needs: common rates
-- The domains that have a pace of their own, and what was sent. Reply, a line per domain: its name, messages a second.
-- ARGV: relay, number of domains that the settings name, for each its name and limits, "" for the relay's own, then for
-- each domain that was sent to its name and how many.

local relay, named = ARGV[FIRST], tonumber(ARGV[FIRST + 1])
local first_sent = FIRST + 2 + 2 * named

even_when_full()
if #ARGV >= first_sent then
  local key = seen_key(relay, math.floor(now / RATE_OBSERVED))
  call("HSETNX", key, "@", now)
  for place = first_sent, #ARGV, 2 do call("HINCRBY", key, ARGV[place], ARGV[place + 1]) end
  call("PEXPIRE", key, 2 * RATE_OBSERVED)
end

local overrides, slowed, said = load_overrides(relay), load_slowed(relay), {}
for place = FIRST + 2, first_sent - 1, 2 do said[ARGV[place]] = ARGV[place + 1] end

local reply, told = {}, {}
local function tell(domain)
  if told[domain] or domain == "@" or domain == "@own" then return end
  told[domain] = true
  local limits = limits_of(overrides, domain, said[domain] or said["*"] or "", said[domain] ~= nil)
  local rate = slowed[domain] and math.min(limits.rate, slowed[domain].now) or limits.rate
  if rate < NEVER then
    reply[#reply + 1] = domain .. " " .. string.format("%.17g", rate)
  elseif limits.connections then
    reply[#reply + 1] = domain .. " inf"
  end
end
for domain in pairs(said) do tell(domain) end
for domain in pairs(overrides) do tell(domain) end
for domain in pairs(slowed) do tell(domain) end
return table.concat(reply, "\n")
