-- needs: common moves
-- All that is known of a message. Reply: {its hash as name, value..., due time, envelope, long results}, or {}.
-- ARGV: id.

local id = ARGV[FIRST]
local record = call("HGETALL", message(id))
if #record == 0 then return {} end
local due = PREFIX .. index_of("deferred", call("HGET", message(id), "l"))
return {record, call("ZSCORE", due, id), call("GET", envelope(id)), call("GET", long_results(id))}
