-- needs: common rates
-- The relays that have limits overridden, used or slowed. Reply, for each: {relay, the relay's own limits as written,
-- whether overridden, {quota's length, what was used of it...}, {domain, rate or "", slowed, reason, connections,
-- overridden...}}.

local function state(relay)
  local overrides, slowed, domains, used = load_overrides(relay), load_slowed(relay), {}, {}
  local function tell(domain)
    local limits = read_limits(overrides[domain] or "")
    local s = slowed[domain]
    local rate = s and math.min(limits.rate, s.now) or limits.rate
    local shown = rate < NEVER and string.format("%.17g", rate) or ""
    local values = {domain, shown, s and 1 or 0, s and s.reason or "", limits.connections or 0, overrides[domain] and 1 or 0}
    for _, value in ipairs(values) do domains[#domains + 1] = value end
  end
  for domain in pairs(overrides) do
    if domain ~= "" and domain ~= "@" and domain ~= "@own" then tell(domain) end
  end
  for domain in pairs(slowed) do
    if not overrides[domain] then tell(domain) end
  end
  local a = {key = account_key(relay, "")}
  for _, field in ipairs(call("HKEYS", a.key)) do
    local length = string.match(field, "^(%d+):n$")
    if length then
      local quota = {name = length, slot = length / RATE_SLOTS}
      advance(a, quota)
      used[#used + 1], used[#used + 2] = length, quota.n
    end
  end
  local written = overrides[""] and overrides["@own"] or call("HGET", rate_key("known", relay), "limits")
  if next(overrides) == nil and next(slowed) == nil and not written then return nil end
  return {relay, written or "", overrides[""] and 1 or 0, used, domains}
end

even_when_full()
local reply = {}
for _, relay in ipairs(call("ZRANGE", RATES, 0, -1)) do
  local found = state(relay)
  if found then
    reply[#reply + 1] = found
  else
    call("ZREM", RATES, relay)
  end
end
return reply
