-- What the operations on campaigns have in common.

local function key_of(name) return PREFIX .. "c:" .. name end

-- One chunk of recipients more, at the end of a queue; its number.
local function push(key, queue, content)
  local number = call("HINCRBY", key, "chunks", 1)
  call("SET", key .. ":k:" .. number, content)
  call("RPUSH", key .. ":q:" .. queue, number)
  call("SADD", key .. ":queues", queue)
  return number
end

-- Nothing is left of a message that has failed.
local function forget(m)
  leave(m.state, m.id)
  leave_blobs(m)
  drop(message(m.id))
  drop(envelope(m.id))
  drop(long_results(m.id))
  if m.key then drop(key_holder(m.key)) end
end

local function digests_in(text) return string.gmatch(text, "[^\n]+") end

-- When a campaign is to be looked at next by feeders: one that rests costs none of them anything until then.
local function look_at(name, moment) call("ZADD", PREFIX .. "campaigns:live", moment, name) end

-- The moment for one that has come to this state: its start, or its expires_at.
local function rests_until(state, start_at, expires_at)
  if state ~= "scheduled" and state ~= "paused" then return 0 end
  local ends = expires_at > 0 and expires_at or "+inf"
  if state == "paused" then return ends end
  return expires_at > 0 and math.min(start_at, expires_at) or start_at
end

local function end_campaign(key, name, state)
  call("HSET", key, "state", state, "ended", now)
  call("ZADD", PREFIX .. "campaigns:ended", now, name)
  if call("EXISTS", key .. ":parked") == 0 then
    call("ZREM", PREFIX .. "campaigns:live", name)
  else
    look_at(name, 0)
  end
end

-- Its messages by state, as name and number in turn; how many recipients those are; how many will end by themselves.
local UNDER_WAY = {queued = true, scheduled = true, sending = true, deferred = true}
local function tallies_of(key)
  local names, fields = {"suppressed"}, {"n:suppressed"}
  for state in pairs(WAYS()) do names[#names + 1], fields[#fields + 1] = state, "n:" .. state end
  local list, all, under_way = {}, 0, 0
  for place, number in ipairs(call("HMGET", key, unpack(fields))) do
    number = tonumber(number or 0)
    list[#list + 1], list[#list + 2] = names[place], number
    all = all + number
    if UNDER_WAY[names[place]] then under_way = under_way + number end
  end
  return list, all, under_way
end

-- All that is known of a campaign, but for its spec.
local function entry_of(key, name)
  local entry = call(
    "HMGET", key, "state", "lane", "total", "chunks", "created", "start_at", "started", "ended", "expires_at",
    "open_until", "n:retried"
  )
  for place = 3, 11 do entry[place] = tonumber(entry[place] or 0) end
  local list, all = tallies_of(key)
  entry[#entry + 1] = name
  entry[#entry + 1] = all
  entry[#entry + 1] = call("ZCARD", key .. ":parked")
  entry[#entry + 1] = now
  entry[#entry + 1] = call("SMEMBERS", key .. ":queues")
  entry[#entry + 1] = list
  return entry
end

-- Let some of its parked messages go to where its state says; how many.
local function let_go(c, limit)
  local state = bulk().stop_of(c)
  if state == "held" then return 0 end
  local ids = call("ZRANGE", PREFIX .. c.parked, 0, limit - 1)
  for _, id in ipairs(ids) do
    local m = load(id)
    if not m or m.state ~= "held" or m.campaign ~= c then
      leave(c.parked, id)
    elseif state then
      bulk().stop(m, move, expire)
    else
      defer(m, now, REASON_UNPARKED, {n = now})
    end
  end
  return #ids
end

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" -- of base64url

local function bucket(number, width)
  local name = ""
  for _ = 1, width do
    local digit = number % 64
    name = string.sub(ALPHABET, digit + 1, digit + 1) .. name
    number = (number - digit) / 64
  end
  return name
end

-- Drop some of what is left of the campaign that ended first, if that is longer than the retention ago: goes through
-- `limit` names of its chunks and of the hashes of its index; how many. Which hashes there are is not kept anywhere, as
-- it would cost each recipient a tenth of its room.
local function sweep_campaigns(limit)
  local name = call("ZRANGEBYSCORE", PREFIX .. "campaigns:ended", "-inf", now - RETENTION, "LIMIT", 0, 1)[1]
  if not name then return 0 end
  local c = bulk().named(name)
  if not c then return call("ZREM", PREFIX .. "campaigns:ended", name) end
  if c.state == "loading" then -- nobody has added to it for so long
    end_campaign(c.key, name, "cancelled")
    return 1
  end
  if call("EXISTS", PREFIX .. c.parked) == 1 then return let_go(c, limit) end
  local v = call("HMGET", c.key, "chunks", "swept", "blobs")
  local chunks, swept = tonumber(v[1] or 0), tonumber(v[2] or 0)
  local names = chunks + 64 ^ c.width
  local last = math.min(swept + limit, names)
  for number = swept + 1, last do
    drop(c.key .. (number <= chunks and ":k:" .. number or ":i:" .. bucket(number - chunks - 1, c.width)))
  end
  if last < names then
    call("HSET", c.key, "swept", last)
    return last - swept
  end
  for _, queue in ipairs(call("SMEMBERS", c.key .. ":queues")) do drop(c.key .. ":q:" .. queue) end
  local hashes = {}
  for hash in string.gmatch(v[3] or "", "%S+") do hashes[#hashes + 1] = hash end
  leave_blobs({id = "c:" .. name, blobs = #hashes, hashes = hashes})
  drop(c.key .. ":queues")
  drop(c.key)
  call("ZREM", PREFIX .. "campaigns:live", name)
  call("ZREM", PREFIX .. "campaigns:ended", name)
  call("ZREM", PREFIX .. "campaigns", name)
  return last - swept + 1
end
