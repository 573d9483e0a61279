-- needs: common campaign moves
-- An owner has died: end its claims. Reply: their number.
-- ARGV: owner.

local owner = ARGV[FIRST]
even_when_full()
local number = 0
local claims = call("ZRANGEBYLEX", PREFIX .. "owned", "[" .. owner .. "\n", "(" .. owner .. "\n\255")
for _, claim in ipairs(claims) do
  local m = load(string.sub(claim, #owner + 2))
  if m and m.state == "sending" and m.owner == owner then
    crash(m)
    number = number + 1
  else
    leave("owned", claim)
  end
end
finish()
return number
