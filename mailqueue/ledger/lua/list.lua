-- needs: common moves
-- Ids of messages in an indexed state, oldest first.
-- ARGV: state, limit.

local state, limit = ARGV[FIRST], tonumber(ARGV[FIRST + 1])

if INDEX[state] then return call("ZRANGE", PREFIX .. INDEX[state], 0, limit - 1) end

-- Merge the lanes: by due time, or by the time since when each is queued, as numbers of different lanes do not compare.
local since, ids = {}, {}
for _, lane in ipairs(lanes_in_use()) do
  local entries = call("ZRANGE", PREFIX .. index_of(state, lane), 0, limit - 1, "WITHSCORES")
  for place = 1, #entries, 2 do
    local id = entries[place]
    ids[#ids + 1] = id
    since[id] = tonumber(entries[place + 1])
    if state == "queued" then
      local v = call("HMGET", message(id), "u", "t")
      since[id] = tonumber(v[1] or v[2] or 0)
    end
  end
end
table.sort(ids, function(one, other)
  if since[one] == since[other] then return one < other end
  return since[one] < since[other]
end)
local oldest = {}
for place = 1, math.min(limit, #ids) do oldest[place] = ids[place] end
return oldest
