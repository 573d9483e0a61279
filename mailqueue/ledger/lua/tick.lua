-- needs: common moves marks
-- Recover and schedule: one bounded pass over what expired, was lost, or fell due.
-- ARGV: limit (messages of each kind).
-- Reply: {} if another tick was answered just now; else {publications, found}: each publication {lane, number, alone,
-- id, envelope, id, envelope...}, found as name, number, name, number...

local limit = tonumber(ARGV[FIRST])
local publications, found = {}, {}

local v = call("HMGET", PREFIX .. "tick", "last", "gap", "calm")
local last, gap, calm = tonumber(v[1] or 0), tonumber(v[2] or 0), tonumber(v[3] or 0)
if last <= now and now - last < TICK_GAP then return {} end

even_when_full()

-- When nobody has ticked for a while, the workers were probably cut off from the store, like us, and could not renew
-- their leases. A fleet that always ticks that seldom is no outage: its leases must end some time.
local outage = last > now or now - last > math.max(OUTAGE, math.min(2 * gap, LEASE))
if outage then
  calm = now + LEASE
  if last > 0 then
    event("outages")
    add(found, "outages", 1)
  end
end
gap = last > 0 and math.max(0, now - last) or 0
call("HSET", PREFIX .. "tick", "last", now, "gap", gap, "calm", calm)

local function up_to(index, highest)
  return call("ZRANGEBYSCORE", PREFIX .. index, "-inf", highest, "LIMIT", 0, limit)
end

-- The message `id` if it is in `state`; else its entry in `index` is stale.
local function listed(id, state, index)
  local m = load(id)
  if m and m.state == state then return m end
  leave(index, id)
end

-- Leases.
if calm > now then
  -- Those that end later than a lease from now were given before the clock was set back.
  for _, id in ipairs(call("ZRANGEBYSCORE", PREFIX .. "leased", "(" .. now + LEASE, "+inf", "LIMIT", 0, limit)) do
    enter("leased", id, now + LEASE)
  end
else
  for _, id in ipairs(up_to("leased", now)) do
    local m = listed(id, "sending", "leased")
    if m then
      event("expired_leases")
      add(found, "expired_leases", 1)
      crash(m)
    end
  end
end

-- Lanes: what was lost, and a barrier where nothing moves.
local function recover_lost(lane, older_mark)
  if older_mark == 0 then return end
  local index = "queued:" .. lane
  for _, id in ipairs(up_to(index, older_mark)) do
    local m = listed(id, "queued", index)
    if m then
      event("lost")
      add(found, "lost", 1)
      defer(m, now, REASON_LOST)
    end
  end
  flush()
end

local function next_number(lane) return call("HINCRBY", lane_key(lane), "counter", 1) end

-- The mark stands for want of tasks to pop, or because they are lost: while messages are queued, an empty task tells.
local function publish_barrier(lane, moved)
  if call("ZCARD", PREFIX .. "queued:" .. lane) == 0 then
    call("HSET", lane_key(lane), "moved", now, "barrier", 0, "gap", SHIFT)
    return
  end
  if now - moved < SHIFT then return end
  local at = call("HMGET", lane_key(lane), "barrier", "gap")
  local due, wait = tonumber(at[1] or 0), tonumber(at[2] or SHIFT)
  if now < due and due <= now + BARRIER_GAP_MAX then return end -- later than that: the clock was set back
  call("HSET", lane_key(lane), "barrier", now + wait, "gap", math.min(2 * wait, BARRIER_GAP_MAX))
  event("barriers")
  add(found, "barriers", 1)
  publications[#publications + 1] = {lane, next_number(lane), 0}
end

local seen = {}
for _, name in ipairs(call("HKEYS", PREFIX .. "counts")) do
  local lane = string.match(name, "^(.*):")
  if not seen[lane] then
    seen[lane] = true
    local older_mark, moved = advance_marks(lane, 0, outage)
    recover_lost(lane, older_mark)
    publish_barrier(lane, moved)
  end
end
flush()

-- What is due is published: the one door. Messages of a lane share a task, suspects go alone.
local open = {}

local function publication_for(m, octets)
  local task = open[m.lane]
  if m.crashes > 0 then
    task = nil
  elseif task and (task.messages >= PACK_MESSAGES or task.octets + octets > PACK_BYTES) then
    task = nil
  end
  if not task then
    local number = next_number(m.lane)
    task = {messages = 0, octets = 0, number = number, wire = {m.lane, number, m.crashes > 0 and 1 or 0}}
    publications[#publications + 1] = task.wire
    if m.crashes == 0 then open[m.lane] = task end
  end
  task.messages, task.octets = task.messages + 1, task.octets + octets
  return task
end

local answered = 0
for _, id in ipairs(up_to("due", now)) do
  local m = listed(id, "deferred", "due")
  local content = m and call("GET", envelope(id))
  if m and not content then
    event("envelopes_lost")
    add(found, "envelopes_lost", 1)
    move(m, "held", now, {w = REASON_ENVELOPE_LOST})
  elseif m then
    answered = answered + #content
    if answered > TICK_BYTES and answered > #content then break end -- the rest is due at the next tick as well
    local task = publication_for(m, #content)
    if move(m, "queued", task.number, {}) then
      add(found, "due", 1)
      task.wire[#task.wire + 1], task.wire[#task.wire + 2] = id, content
    end
  end
end

-- What was kept for operators until its retention ended.
for _, state in ipairs({"failed", "partial"}) do
  for _, id in ipairs(up_to(state, now - RETENTION)) do
    local m = listed(id, state, state)
    if m then
      event("swept")
      add(found, "swept", 1)
      leave(state, id)
      leave_blobs(m)
      call("DEL", message(id), envelope(id), long_results(id))
    end
  end
end

finish()
local names = {}
for name, number in pairs(found) do names[#names + 1], names[#names + 2] = name, number end
return {publications, names}
