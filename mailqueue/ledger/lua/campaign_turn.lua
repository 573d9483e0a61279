-- needs: common campaign moves campaigns
-- Start, pause, resume or cancel a campaign, if its state allows that; what was done already is no error.
-- ARGV: name, verb. Reply: {done, state}; {missing}; or {illegal, state, the one that was wanted}.

local name, key, verb = ARGV[FIRST], key_of(ARGV[FIRST]), ARGV[FIRST + 1]

even_when_full()
local v = call("HMGET", key, "state", "start_at", "expires_at")
local state = v[1]
if not state then return {"missing"} end
local running = tonumber(v[2]) <= now and "running" or "scheduled"

local wanted, legal
if verb == "start" then
  wanted = state == "loading" and running or state
  legal = state ~= "cancelled"
  if not legal then wanted = running end
elseif verb == "resume" then
  local goes = state == "running" or state == "scheduled"
  wanted = goes and state or running
  legal = goes or state == "paused"
else
  wanted = verb == "pause" and "paused" or "cancelled"
  legal = state == wanted or CAMPAIGN_WAYS()[state][wanted]
end
if not legal then return {"illegal", state, wanted} end

if wanted == "cancelled" and state ~= wanted then
  end_campaign(key, name, wanted)
elseif state ~= wanted then
  call("HSET", key, "state", wanted)
  call("ZREM", PREFIX .. "campaigns:ended", name)
  look_at(name, rests_until(wanted, tonumber(v[2]), tonumber(v[3])))
end
return {"done", wanted}
