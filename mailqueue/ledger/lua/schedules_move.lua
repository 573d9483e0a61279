-- needs: common schedules
-- It was started for the moment that it was due. Reply: 1, or 0 if it was not due then any more.
-- ARGV: name, due (s), due next (s).

local name, due, following = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]

if call("HGET", schedule_key(name), "due") ~= due then return 0 end
call("HSET", schedule_key(name), "due", following)
call("HDEL", schedule_key(name), "owner", "until")
call("ZADD", SCHEDULES, following, name)
return 1
