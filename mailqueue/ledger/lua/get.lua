-- needs: common
-- All that is known of a message. Reply: {its hash as name, value..., due time, envelope, long results}, or {}.
-- ARGV: id.

local id = ARGV[FIRST]
local record = call("HGETALL", message(id))
if #record == 0 then return {} end
return {record, call("ZSCORE", PREFIX .. "due", id), call("GET", envelope(id)), call("GET", long_results(id))}
