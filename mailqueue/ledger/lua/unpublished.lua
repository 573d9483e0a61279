-- needs: common campaign moves
-- The task of these messages could not be published: the tick is to publish them.
-- ARGV: due in, then ids.

even_when_full()
for place = FIRST + 1, #ARGV do
  local m = load(ARGV[place])
  if m and m.state == "queued" then
    event("unpublished")
    defer(m, now + ARGV[FIRST], REASON_UNPUBLISHED)
  end
end
finish()
