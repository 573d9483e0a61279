-- needs: common
-- A campaign met the refusal of these addresses. Reply: in how many campaigns each has been refused.
-- ARGV: the campaign, how long that counts, addresses.

local campaign, within = ARGV[FIRST], ARGV[FIRST + 1]
local counts = {}
for place = FIRST + 2, #ARGV do
  local key = PREFIX .. "refused:" .. ARGV[place]
  call("SADD", key, campaign)
  call("PEXPIRE", key, within)
  counts[#counts + 1] = call("SCARD", key)
end
return counts
