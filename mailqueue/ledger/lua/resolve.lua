-- needs: common campaign moves hands
-- Settle by hand a message whose answer was lost. Reply: its new state; missing; or refused and the state it is in.
-- ARGV: id, state, reason, results.

local state, reason, results = ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3]

even_when_full()
local m = find(ARGV[FIRST])
if not m then
  local over = bulk().ended(ARGV[FIRST])
  return over and {"refused", over} or {"missing"}
end
local held = m.state == "held" and m.phase == "unknown" -- by the ledger, for want of an answer
if state == m.state or not (held or m.state == "unknown") then return {"refused", m.state} end

event("resolved")
local fields = {w = reason}
keep_results(m, results, fields)
if state == "deferred" or state == "held" and m.asked then
  fields.n = now
  defer(m, now, reason, fields)
else
  if state ~= "held" then fields.p = "answered" end
  move(m, state, now, fields, held and {"deferred", "queued", "sending"} or DIRECT)
end
finish()
return {m.state}
