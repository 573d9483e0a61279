-- needs: common schedules
-- Forget a schedule. Reply: 1, or 0 if there is none. ARGV: name.

call("ZREM", SCHEDULES, ARGV[FIRST])
return call("DEL", schedule_key(ARGV[FIRST]))
