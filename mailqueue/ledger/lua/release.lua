-- needs: common campaign moves
-- Give back claimed messages that were not begun, at no charge.
-- ARGV: token, due in, reason, then ids.

local token, due_in, reason = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]

even_when_full()
for place = FIRST + 3, #ARGV do
  local m = load(ARGV[place])
  if m and m.state == "sending" and m.fence == token and m.phase == "claimed" then
    defer(m, now + due_in, reason)
  end
end
finish()
