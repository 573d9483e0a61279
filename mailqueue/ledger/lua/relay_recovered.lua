-- needs: common relays
-- A relay has answered. Reply: 1 if it was in trouble.
-- ARGV: relay, whether this is by hand: then latches are taken off as well.

local relay, by_hand = ARGV[FIRST], ARGV[FIRST + 1] == "1"

local r = load_relay(relay)
if not r then return 0 end
even_when_full()
if by_hand or #r.latched == 0 then
  call("DEL", relay_key(relay))
  call("SREM", RELAYS, relay)
  return 1
end
return call("HDEL", relay_key(relay), unpack(TROUBLE)) > 0 and 1 or 0
