-- needs: common campaign moves campaigns
-- End a campaign that runs, if every recipient has ended or waits for an operator; or waits where no feeder can find it,
-- in a chunk that could not be read. Reply: 1 if this call has done it.
-- ARGV: name.

local name, key = ARGV[FIRST], key_of(ARGV[FIRST])

even_when_full()
local v = call("HMGET", key, "state", "total")
if v[1] ~= "running" then return 0 end
local _, all, under_way = tallies_of(key)
if all < tonumber(v[2]) and call("EXISTS", key .. ":queues") == 1 then return 0 end
if under_way > 0 or call("EXISTS", key .. ":parked") == 1 then return 0 end
end_campaign(key, name, "finished")
return 1
