-- needs: common campaign moves campaigns
-- Let parked messages of a campaign go, or cancel or expire them with it. Reply: their number.
-- ARGV: name, limit.

even_when_full()
local c = bulk().named(ARGV[FIRST])
local number = c and let_go(c, tonumber(ARGV[FIRST + 1])) or 0
finish()
return number
