-- needs: common suppressions
-- Add entries, unless they are there. Reply: how many are new.
-- ARGV: for each its list, key, time in s (empty: now), and what else is kept of it.

local new = 0
for place = FIRST, #ARGV, 4 do
  local list, at = ARGV[place], ARGV[place + 2]
  if at == "" then at = string.format("%d", math.floor(now / 1000)) end
  call("SADD", SUPPRESSED, list)
  new = new + call("HSETNX", suppressed_key(list), ARGV[place + 1], at .. " " .. ARGV[place + 3])
end
return new
