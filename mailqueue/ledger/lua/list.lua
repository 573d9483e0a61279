-- needs: common campaign moves
-- Ids of messages in an indexed state, oldest first, of one lane and relay if these are given.
-- ARGV: state, lane or "", whether to ask for the relay, relay, id after which to begin or "", how many to look at.
-- Reply: {ids, the last one looked at, how many were looked at}.

local state, only_lane, by_relay, relay = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2] == "1", ARGV[FIRST + 3]
local after, limit = ARGV[FIRST + 4], tonumber(ARGV[FIRST + 5])

-- Entries of one index from `rank` on, in order.
local entries = {}
local function read(name, lane, rank)
  local listed = call("ZRANGE", PREFIX .. name, rank, rank + limit - 1, "WITHSCORES")
  for place = 1, #listed, 2 do
    -- Numbers of different lanes do not compare: queued messages come lane by lane, the others by their times.
    local age = state == "queued" and 0 or tonumber(listed[place + 1])
    entries[#entries + 1] = {id = listed[place], age = age, lane = lane, at = place}
  end
end

if INDEX[state] then
  local rank = call("ZRANK", PREFIX .. INDEX[state], after)
  read(INDEX[state], "", rank and rank + 1 or 0)
else
  local lanes = only_lane == "" and lanes_in_use() or {only_lane}
  local from = call("HGET", message(after), "l")
  local own = from and PREFIX .. index_of(state, from)
  local rank = own and call("ZRANK", own, after)
  local age = rank and call("ZSCORE", own, after)
  for _, lane in ipairs(lanes) do
    local index = index_of(state, lane)
    if not rank then
      read(index, lane, 0)
    elseif lane == from then
      read(index, lane, rank + 1)
    elseif state ~= "queued" then
      read(index, lane, call("ZCOUNT", PREFIX .. index, "-inf", lane > from and "(" .. age or age))
    elseif lane > from then
      read(index, lane, 0)
    end
  end
  table.sort(entries, function(one, other)
    if one.age ~= other.age then return one.age < other.age end
    if one.lane ~= other.lane then return one.lane < other.lane end
    return one.at < other.at
  end)
end

local ids, looked = {}, math.min(limit, #entries)
for place = 1, looked do
  local id = entries[place].id
  local v = (by_relay or INDEX[state] and only_lane ~= "") and call("HMGET", message(id), "l", "r")
  if not v or (only_lane == "" or v[1] == only_lane) and (not by_relay or (v[2] or "") == relay) then
    ids[#ids + 1] = id
  end
end
return {ids, looked > 0 and entries[looked].id or "", looked}
