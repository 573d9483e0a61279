-- needs: common campaign moves marks relays campaigns
-- Recover and schedule: one bounded pass over what expired, was lost, or fell due.
-- ARGV: limit (messages of each kind, and lane).
-- Reply: {} if another tick was answered just now; else {publications, found}: each publication {lane, number, alone,
-- id, envelope, id, envelope...}, found as name, number, name, number...

local limit = tonumber(ARGV[FIRST])
local publications, found = {}, {}
local more = "0" -- "1" if this tick has met a limit: the next one follows soon

local v = call("HMGET", PREFIX .. "tick", "last", "gap", "calm", "more")
local last, gap, calm, had_more = tonumber(v[1] or 0), tonumber(v[2] or 0), tonumber(v[3] or 0), v[4] == "1"
if last <= now and now - last < (had_more and TICK_GAP_MORE or TICK_GAP) then return {} end

even_when_full()

local function note(name)
  event(name)
  add(found, name, 1)
end

-- When nobody has ticked for a while, the workers were probably cut off from the store, like us, and could not renew
-- their leases. A fleet that always ticks that seldom is no outage: its leases must end some time.
local outage = last > now or now - last > math.max(OUTAGE, math.min(2 * gap, LEASE))
if outage then
  calm = now + LEASE
  if last > 0 then note("outages") end
end
gap = last > 0 and math.max(0, now - last) or 0
call("HSET", PREFIX .. "tick", "last", now, "gap", gap, "calm", calm)

local function up_to(index, highest)
  local ids = call("ZRANGEBYSCORE", PREFIX .. index, "-inf", highest, "LIMIT", 0, limit)
  if #ids >= limit then more = "1" end
  return ids
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
      note("expired_leases")
      crash(m)
    end
  end
end

-- What is past its expires_at.
for _, id in ipairs(up_to("expiring", now)) do
  local m = load(id)
  if m and EXPIRABLE[m.state] and is_late(m) then
    add(found, "expired", 1)
    expire(m)
  else
    leave("expiring", id)
  end
end
flush()

-- Lanes: what was lost, and a barrier where nothing moves.
local function recover_lost(lane, older_mark)
  if older_mark == 0 then return end
  local index = "queued:" .. lane
  for _, id in ipairs(up_to(index, older_mark)) do
    local m = listed(id, "queued", index)
    if m then
      note("lost")
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
  note("barriers")
  publications[#publications + 1] = {lane, next_number(lane), 0}
end

local lanes = lanes_in_use()
for _, lane in ipairs(lanes) do
  local older_mark, moved = advance_marks(lane, 0, outage)
  recover_lost(lane, older_mark)
  publish_barrier(lane, moved)
end
flush()

-- What is due is published: the one door. Messages of a lane share a task, suspects go alone. Each lane has its own
-- share of the tick for what was scheduled and for what was deferred, so that a retry does not wait behind thousands
-- that are not its like.
local function new_task(lane, alone)
  local number = next_number(lane)
  local task = {messages = 0, octets = 0, number = number, wire = {lane, number, alone and 1 or 0}}
  publications[#publications + 1] = task.wire
  return task
end

local function publish_due(lane, state, filling)
  local index, total = index_of(state, lane), 0
  for _, id in ipairs(up_to(index, now)) do
    local m = listed(id, state, index)
    local content = m and call("GET", envelope(id))
    if m and is_late(m) then
      add(found, "expired", 1)
      expire(m)
    elseif m and not content then
      note("envelopes_lost")
      move(m, "held", now, {w = REASON_ENVELOPE_LOST})
    elseif m then
      total = total + #content
      if total > math.max(TICK_BYTES, #content) then
        more = "1"
        return filling -- the rest is due at the next tick as well
      end
      local task = filling
      if m.crashes > 0 then
        task = new_task(lane, true)
      elseif not task or task.messages >= PACK_MESSAGES or task.octets + #content > PACK_BYTES then
        filling = new_task(lane, false)
        task = filling
      end
      task.messages, task.octets = task.messages + 1, task.octets + #content
      if move(m, "queued", task.number, {}) then
        add(found, "due", 1)
        task.wire[#task.wire + 1], task.wire[#task.wire + 2] = id, content
      end
    end
  end
  return filling
end

for _, lane in ipairs(lanes) do
  local filling = publish_due(lane, "scheduled")
  publish_due(lane, "deferred", filling)
end

-- What was kept for operators until its retention ended.
for _, state in ipairs({"failed", "partial"}) do
  for _, id in ipairs(up_to(state, now - RETENTION)) do
    local m = listed(id, state, state)
    if m then
      note("swept")
      forget(m)
    end
  end
end

sweep_campaigns(SWEEP_NAMES)

-- While a relay is left alone, what is due waits for it as a rule, and is only looked at: there is no hurry.
for _, relay in ipairs(call("SMEMBERS", RELAYS)) do
  local r = load_relay(relay)
  if r and r.times > 0 then more = "0" end
end
call("HSET", PREFIX .. "tick", "more", more)
finish()
local names = {}
for name, number in pairs(found) do names[#names + 1], names[#names + 2] = name, number end
return {publications, names}
