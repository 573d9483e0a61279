-- needs: common campaign moves campaigns
-- The campaigns that want a feeder, having started those whose time has come and ended those past theirs. Those that
-- rest until later are not looked at: there may be thousands.
-- Reply: an entry of each; see entry_of().

even_when_full()
local entries = {}
local names = call("ZRANGEBYSCORE", PREFIX .. "campaigns:live", "-inf", now)
table.sort(names)
for _, name in ipairs(names) do
  local key = key_of(name)
  local v = call("HMGET", key, "state", "start_at", "expires_at", "ended")
  local state, start_at, expires_at = v[1], tonumber(v[2] or 0), tonumber(v[3] or 0)
  if state and expires_at > 0 and expires_at <= now and CAMPAIGN_WAYS()[state].expired then
    end_campaign(key, name, "expired")
    state, v[4] = "expired", now
  elseif state == "scheduled" and start_at <= now then
    call("HSET", key, "state", "running")
    look_at(name, 0)
    state = "running"
  end
  if not state or tonumber(v[4] or 0) > 0 and call("EXISTS", key .. ":parked") == 0 then
    call("ZREM", PREFIX .. "campaigns:live", name)
  elseif state == "scheduled" or state == "paused" then -- restored, or the clock was set back
    look_at(name, rests_until(state, start_at, expires_at))
  else
    entries[#entries + 1] = entry_of(key, name)
  end
end
return entries
