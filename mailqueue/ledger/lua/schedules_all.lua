-- needs: common schedules
-- All schedules, the one that is due first at the head. Reply, for each: {name, spec, due (s), now, owner or ""}.

local reply = {}
for _, name in ipairs(call("ZRANGE", SCHEDULES, 0, -1)) do
  reply[#reply + 1] = load_schedule(name)
end
return reply
