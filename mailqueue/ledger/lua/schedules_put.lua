-- needs: common schedules
-- Make a schedule, or another one of it. Reply: 1, or 0 if it is there with the same spec.
-- ARGV: name, spec, due (s).

local name, spec, due = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]

if call("HGET", schedule_key(name), "spec") == spec then return 0 end
call("HSET", schedule_key(name), "spec", spec, "due", due)
call("HDEL", schedule_key(name), "owner", "until")
call("ZADD", SCHEDULES, due, name)
return 1
