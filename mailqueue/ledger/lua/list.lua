-- needs: common moves
-- Ids of messages in an indexed state, oldest first.
-- ARGV: state, limit.

local state, limit = ARGV[FIRST], tonumber(ARGV[FIRST + 1])

local function first(index) return call("ZRANGE", PREFIX .. index, 0, limit - 1) end

if state ~= "queued" then return first(INDEX[state]) end

-- Numbers of different lanes do not compare: merge the lanes by the time since when each message is queued.
local since, ids, seen = {}, {}, {}
for _, name in ipairs(call("HKEYS", PREFIX .. "counts")) do
  local lane = string.match(name, "^(.*):")
  if not seen[lane] then
    seen[lane] = true
    for _, id in ipairs(first("queued:" .. lane)) do
      local v = call("HMGET", message(id), "u", "t")
      ids[#ids + 1] = id
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
