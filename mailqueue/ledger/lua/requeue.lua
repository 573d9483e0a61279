-- needs: common campaign moves hands
-- Send failed and partial messages again, to those who were refused. Reply, per id: deferred, refused, missing.
-- ARGV: ids.

-- The refused are deferred now, as if they had been refused for a while. A quote inside a text of JSON is escaped, so
-- this finds verdicts alone.
local function reopened(results) return (string.gsub(results, '":%["r",', '":["d",')) end

return for_each(FIRST, function(m)
  if m.campaign or m.state ~= "failed" and m.state ~= "partial" then return "refused" end -- a campaign retries itself
  event("requeued")
  local fields = {a = 0, c = 0, k = 0, n = now, w = REASON_REQUEUED}
  keep_results(m, reopened(results_of(m)), fields)
  move(m, "deferred", now, fields)
  return "deferred"
end, "refused")
