-- needs: common relays
-- A relay is in trouble. Reply: {how long to leave it alone, whether that is news, whether all have to}.
-- ARGV: relay, owner, delay, longest, latch, over, reason.

local relay, owner, delay, longest = ARGV[FIRST], ARGV[FIRST + 1], tonumber(ARGV[FIRST + 2]), tonumber(ARGV[FIRST + 3])
local latch, over, reason = ARGV[FIRST + 4], ARGV[FIRST + 5], ARGV[FIRST + 6]

even_when_full()
local r = load_relay(relay) or {times = 0}

if latch ~= "" then
  if r[LATCH .. latch] then return {LATCHED_WAIT, 0, 1} end
  call("SADD", RELAYS, relay)
  -- It was reached; only these settings are the trouble.
  call("HDEL", relay_key(relay), unpack(TROUBLE))
  call("HSET", relay_key(relay), LATCH .. latch, now, "since", now, "reason", reason)
  return {LATCHED_WAIT, 1, 1}
end

local left = time_left(r)
if left > 0 then return {left, 0, 1} end -- the same trouble, met by one more
if is_probed(r, owner) then return {math.min(PROBE_WAIT, r.probing - now), 0, 1} end

local times = r.times + 1
local wait = math.floor(math.min(longest, delay * 2 ^ math.min(r.times, 30)))
call("SADD", RELAYS, relay)
call("HDEL", relay_key(relay), "prober", "probing")
call("HSET", relay_key(relay), "since", r.times > 0 and r.since or now, "times", times, "over", over, "reason", reason)
if over ~= "" and over == r.over then return {wait, 0, 0} end
call("HSET", relay_key(relay), "until", now + wait, "wait", wait)
return {wait, r.times == 0 and 1 or 0, 1}
