-- needs: common campaign moves hands
-- All that is known of a message. Reply: {its hash as name, value..., due time, envelope, results, id}, or {}.
-- ARGV: id.

local m = find(ARGV[FIRST])
if not m then
  local state, reply, c = bulk().ended(ARGV[FIRST])
  if not state then return {} end
  return {{"s", state, "l", call("HGET", c.key, "lane"), "w", reply}, false, false, "", ARGV[FIRST]}
end
local due = (m.state == "scheduled" or m.state == "deferred") and call("ZSCORE", PREFIX .. index_of(m.state, m.lane), m.id)
return {call("HGETALL", message(m.id)), due, call("GET", envelope(m.id)), results_of(m), m.id}
