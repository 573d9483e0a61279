-- needs: common moves
-- The last bytes of these messages were not written after all.
-- ARGV: token, then ids.

local token = ARGV[FIRST]

even_when_full()
for place = FIRST + 1, #ARGV do
  local m = load(ARGV[place])
  if m and m.fence == token and m.state == "sending" then
    if m.phase == "begun" then call("HSET", message(m.id), "p", "claimed") end
    if m.asked then defer(m, now, "") end
  elseif m and m.fence == token and m.phase == "unknown" and (m.state == "unknown" or m.state == "held") then
    -- The lease ended before this was told: it rests for want of an answer that is known now.
    event("late")
    defer(m, now, REASON_NOT_WRITTEN, {p = "claimed"})
  end
end
finish()
