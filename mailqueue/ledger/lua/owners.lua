-- needs: common
-- The owners of claims whose names begin with a text, in order.
-- ARGV: the text.

local beginning = ARGV[FIRST]
local owners, from = {}, "[" .. beginning
while true do
  local first = call("ZRANGEBYLEX", PREFIX .. "owned", from, "+", "LIMIT", 0, 1)[1]
  local owner = first and string.match(first, "^(.-)\n")
  if not owner or string.sub(owner, 1, #beginning) ~= beginning then return owners end
  owners[#owners + 1] = owner
  from = "(" .. owner .. "\n\255" -- behind all messages of this owner: ids are text, which has no such octet
end
