-- needs: common campaign moves hands
-- Withdraw messages. Reply, per id: cancelled, cancelling, late, missing.
-- ARGV: ids.

return for_each(FIRST, function(m)
  if m.state == "cancelled" then return "cancelled" end
  if FINAL[m.state] then return "late" end
  if may_be_out(m) then
    call("HSET", message(m.id), "g", "cancel")
    return "cancelling"
  end
  move(m, "cancelled", now, {w = REASON_CANCELLED}, m.state == "sending" and {"deferred"} or DIRECT)
  return "cancelled"
end, "late", "cancelled")
