-- needs: common campaign moves
-- The last bytes of these messages were not written after all.
-- ARGV: token, the call's number, then ids.

local token, turn = ARGV[FIRST], tonumber(ARGV[FIRST + 1])

even_when_full()
for place = FIRST + 2, #ARGV do
  local m = load(ARGV[place])
  if not m or m.fence ~= token or turn < m.turn then
    -- Not ours any more; or it arrives once more, late, and would undo a begin that came after it.
  elseif m.state == "sending" then
    if m.phase == "begun" then call("HSET", message(m.id), "p", "claimed", "b", turn) end
    if m.asked then defer(m, now, "") end
  elseif m.phase == "unknown" and (m.state == "unknown" or m.state == "held") then
    -- The lease ended before this was told: it rests for want of an answer that is known now.
    event("late")
    defer(m, now, REASON_NOT_WRITTEN, {p = "claimed"})
  end
end
finish()
