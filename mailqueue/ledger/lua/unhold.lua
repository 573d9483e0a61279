-- needs: common campaign moves hands
-- Let held messages go. Reply, per id: deferred, sending or unknown if it was only to be held, refused, missing.
-- ARGV: ids.

return for_each(FIRST, function(m)
  if m.asked == "hold" then
    call("HSET", message(m.id), "g", "")
    return m.state
  end
  if m.state ~= "held" then return "refused" end
  local due = math.max(now, tonumber(m.since)) -- not before its send_at
  move(m, "deferred", due, {n = due, w = REASON_UNHELD})
  return "deferred"
end, "refused")
