-- needs: common rates
-- An owner has ended what it was sending. ARGV: relay, owner.

local relay, owner = ARGV[FIRST], ARGV[FIRST + 1]

local held = rate_key("held", relay)
for _, field in ipairs(call("HKEYS", held)) do
  if string.sub(field, -#owner - 1) == "\n" .. owner then call("HDEL", held, field) end
end
