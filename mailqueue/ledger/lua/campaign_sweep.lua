-- needs: common campaign moves campaigns
-- Drop some of what is left of campaigns that ended long ago. ARGV: limit. Reply: how many names it has gone through.

even_when_full()
local number = sweep_campaigns(tonumber(ARGV[FIRST]))
finish()
return number
