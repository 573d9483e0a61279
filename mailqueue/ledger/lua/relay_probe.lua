-- needs: common relays
-- May `owner` ask this relay? Reply: how long to wait; 0: now, and if it is in trouble, as its prober for one lease.
-- ARGV: relay, owner, fingerprint of its settings.

local relay, owner, fingerprint = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]

local r = load_relay(relay)
if not r then return 0 end
if r[LATCH .. fingerprint] then return LATCHED_WAIT end
if r.times == 0 then return 0 end -- only latched, for other settings
local left = time_left(r)
if left > 0 then return left end
if is_probed(r, owner) then return math.min(PROBE_WAIT, r.probing - now) end
even_when_full()
call("HSET", relay_key(relay), "prober", owner, "probing", now + LEASE)
return 0
