-- needs: common campaign moves campaigns
-- The recipients of a chunk are messages now. Reply: 1, or 0 if it was fed already.
-- ARGV: name, number, owner, queue, how long this queue rests, whether what the chunk holds is replaced, by what, then
-- queue and content of each new chunk.

local key, number, owner, queue = key_of(ARGV[FIRST]), ARGV[FIRST + 1], ARGV[FIRST + 2], ARGV[FIRST + 3]

even_when_full()
local list, lease = key .. ":q:" .. queue, "feed:" .. queue
if call("LINDEX", list, 0) ~= number then return 0 end
call("LPOP", list)
if call("EXISTS", list) == 0 then call("SREM", key .. ":queues", queue) end
if string.match(call("HGET", key, lease) or "", "^%d+ (.*)$") == owner then call("HDEL", key, lease) end
if ARGV[FIRST + 5] == "1" then call("SET", key .. ":k:" .. number, ARGV[FIRST + 6]) end
for place = FIRST + 7, #ARGV, 2 do push(key, ARGV[place], ARGV[place + 1]) end
local rest = math.min(tonumber(ARGV[FIRST + 4]), REST_MAX)
if rest > 0 and call("EXISTS", list) == 1 then call("HSET", key, lease, string.format("%.0f ", now + rest)) end
call("HSETNX", key, "started", now)
return 1
