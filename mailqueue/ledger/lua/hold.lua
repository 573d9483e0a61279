-- needs: common campaign moves hands
-- Park messages. Reply, per id: held, holding, cancelling, late, missing.
-- ARGV: reason, then ids.

local reason = ARGV[FIRST]

return for_each(FIRST + 1, function(m)
  if m.state == "held" then
    -- One that its campaign has parked is held by hand from now on, and is not let go with the campaign.
    if m.campaign and call("ZSCORE", PREFIX .. m.campaign.parked, m.id) then
      leave(m.campaign.parked, m.id)
      write_fields(m, {w = reason})
    end
    return "held"
  end
  if FINAL[m.state] then return "late" end
  if m.asked == "cancel" then return "cancelling" end
  if m.state == "sending" and m.phase == "begun" then
    call("HSET", message(m.id), "g", "hold", "j", reason)
    return "holding"
  end
  move(m, "held", now, {w = reason})
  return "held"
end, "late")
