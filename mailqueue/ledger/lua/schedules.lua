-- Schedules: for each a hash (spec, due, owner and until of its lease), in a sorted set by the second that it is due.

local SCHEDULES = PREFIX .. "schedules"

local function schedule_key(name) return PREFIX .. "schedule:" .. name end

-- What is known of a schedule, as the port has it: {name, spec, due, now, owner}, and until when the lease lasts.
local function load_schedule(name)
  local v = call("HMGET", schedule_key(name), "spec", "due", "owner", "until")
  return {name, v[1] or "", tonumber(v[2] or 0), now, v[3] or ""}, tonumber(v[4] or 0)
end
