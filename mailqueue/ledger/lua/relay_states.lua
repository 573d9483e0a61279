-- needs: common relays
-- The relays in trouble. Reply, for each: {relay, since, until or 0, times, reason, prober or "", latched...}.

local reply = {}
for _, relay in ipairs(call("SMEMBERS", RELAYS)) do
  local r = load_relay(relay)
  if r then
    local prober = is_probed(r, "") and r.prober or ""
    table.sort(r.latched)
    reply[#reply + 1] = {relay, r.since, r["until"] or 0, r.times, r.reason, prober, unpack(r.latched)}
  end
end
return reply
