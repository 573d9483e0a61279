-- needs: common campaign
-- Record new messages as scheduled, or as queued under one new number of their lane; nothing at all while a blob is
-- lacking, or when an idempotency key is another message's. If all of them are queued by that, their task is pushed to
-- the broker's queue KEYS[2], should there be one.
-- ARGV: lane, restored, replayed, what comes before the number in the task and what comes after it, then per message:
-- id, envelope, relay, options, number of blobs, the blobs' hashes.
-- Options are "", or: hold, send at, expires at, digest of the key, idempotency key, with a space between; 0 for none.
-- Reply: number, accepted at and pushed, with a space between, if all are queued by this call, as nearly always; else
-- {number, lacking hashes, {per message: new, state, accepted at}, {id, the first one under its key...}}, or
-- {-1, {place of the message whose key is taken, whose it is}}.

local lane, restored, replayed = ARGV[FIRST], ARGV[FIRST + 1] == "1", ARGV[FIRST + 2] == "1"
local known, keys, answer, lacking, asked, fresh, repeated = {}, {}, {}, {}, {}, {}, {}
local QUEUED_NOW = {"queued", now}

local NO_OPTIONS = {hold = "0", send_at = 0, expires_at = 0, key = ""}

local function options_at(place)
  local text = ARGV[place]
  if text == "" then return NO_OPTIONS end
  local hold, send_at, expires_at, digest, key = string.match(text, "^(%d) (%d+) (%d+) (%S*) (.*)$")
  return {hold = hold, send_at = tonumber(send_at), expires_at = tonumber(expires_at), digest = digest, key = key}
end

local function known_message(id)
  local v = known[id]
  if v == nil then
    v = call("HMGET", message(id), "s", "t")
    v = v[1] and v
    known[id] = v
  end
  return v
end

-- Who took the key, and the digest of its content.
local function holder_of(key)
  if not keys[key] then
    local id, digest = string.match(call("GET", key_holder(key)) or "", "^(%S+) (.*)$")
    if not id or not known_message(id) then return nil end -- a key outlives its message in a store that lost some
    keys[key] = {id, digest}
  end
  return unpack(keys[key])
end

-- Campaigns' messages, as this call meets them; made by the first one.
local recipients
local function of_campaigns()
  if recipients then return recipients end
  local r, looked, adopted = {members = {}}, {}, {}

  -- What is known of one: `v` if it has a record; nothing if its recipient waits, so that it is new; else what became of
  -- it, cancelled if there is no such recipient. But one from a task, whose campaign the store has lost, is a message
  -- of its own; and that, met again when the recipient waits in a campaign made anew, is adopted.
  function r.look(id, v)
    if looked[id] then return v end
    looked[id] = true
    local name, digest = bulk().parts_of(id)
    local c = bulk().named(name)
    if v then
      if c and call("HGET", message(id), "m") ~= c.created then
        local state, waits = bulk().final_of(c, digest)
        if not state and waits then adopted[id] = c end
      end
      return v
    end
    local state, rest
    if c then state, rest = bulk().final_of(c, digest) end
    if not state and not rest then
      if restored then return nil end
      state = "cancelled"
    elseif not state then
      state = bulk().stop_of(c)
      if not state or state == "held" then -- one that has to wait is set aside when it is claimed
        r.members[id] = c
        return nil
      end
    end
    known[id] = {state == "suppressed" and "cancelled" or state, 0}
    return known[id]
  end

  function r.adopt()
    for id, c in pairs(adopted) do
      local _, digest = bulk().parts_of(id)
      local v = call("HMGET", message(id), "s", "w", "a")
      bulk().tally(c, v[1], 1)
      bulk().tally_retried(c, v[1], tonumber(v[3] or 0), 1)
      if not bulk().conclude(c, digest, v[1], v[2] or "") then call("HSET", message(id), "m", c.created) end
    end
  end

  recipients = r
  return r
end

local place = FIRST + 5
while place <= #ARGV do
  local id, options, blobs = ARGV[place], options_at(place + 3), tonumber(ARGV[place + 4])
  local v = known_message(id)
  if string.find(id, "~", 1, true) then v = of_campaigns().look(id, v) end
  if not v and options.key ~= "" then
    local first, digest = holder_of(options.key)
    if first then
      if digest ~= options.digest then return {-1, {#answer / 3, first}} end
      v = known[first]
      repeated[id] = first
    else
      keys[options.key] = {id, options.digest}
    end
  end
  if v then
    answer[#answer + 1] = 0
  else
    v = options.send_at > now and {"scheduled", now} or QUEUED_NOW
    known[id] = v -- a second one of this call is no longer new
    fresh[#fresh + 1] = {place = place, options = options}
    for at = place + 5, place + 4 + blobs do
      local hash = ARGV[at]
      if not asked[hash] then
        asked[hash] = true
        if call("EXISTS", blob(hash)) == 0 then lacking[#lacking + 1] = hash end
      end
    end
    answer[#answer + 1] = 1
  end
  answer[#answer + 1], answer[#answer + 2] = v[1], v[2]
  place = place + 5 + blobs
end
if #lacking > 0 then return {0, lacking} end

-- The first write of new messages is one that could grow: a full store refuses it, and with it the whole call.
if #fresh == 0 then even_when_full() end

local function add_to(write, name, value, none)
  if value ~= none then write[#write + 1], write[#write + 2] = name, value end
end

local number, scheduled = 0, 0
for _, each in ipairs(fresh) do
  local at, options = each.place, each.options
  local id = ARGV[at]
  local write = {"HSET", message(id), "s", known[id][1], "l", lane, "t", now}
  add_to(write, "r", ARGV[at + 2], "")
  add_to(write, "h", options.hold, "0")
  add_to(write, "e", options.expires_at, 0)
  add_to(write, "i", options.key, "")
  local c = recipients and recipients.members[id]
  if c then
    add_to(write, "m", c.created)
    bulk().tally(c, known[id][1], 1)
  end
  if known[id][1] == "queued" then
    if number == 0 then number = call("HINCRBY", lane_key(lane), "counter", 1) end
    enter("queued:" .. lane, id, number)
  else
    scheduled = scheduled + 1
    add_to(write, "n", options.send_at)
    enter("scheduled:" .. lane, id, options.send_at)
  end
  if options.expires_at > 0 then enter("expiring", id, options.expires_at) end
  local blobs = tonumber(ARGV[at + 4])
  add_to(write, "z", blobs, 0)
  for index = 1, blobs do
    local hash = ARGV[at + 4 + index]
    add_to(write, "z" .. index, hash)
    call("SADD", users(hash), id)
    call("PERSIST", blob(hash))
  end
  call(unpack(write))
  call("SET", envelope(id), ARGV[at + 1])
  if options.key ~= "" then call("SET", key_holder(options.key), id .. " " .. options.digest) end
end
add(counts, lane .. ":queued", #fresh - scheduled)
add(counts, lane .. ":scheduled", scheduled)
if recipients then recipients.adopt() end
local firsts = {}
for id, first in pairs(repeated) do
  event("repeated")
  firsts[#firsts + 1], firsts[#firsts + 2] = id, first
  if replayed then call("SET", alias(id), first, "PX", RETENTION) end
end
if restored and #fresh > 0 then add(events, "restored", #fresh) end
finish()
if #fresh - scheduled < #answer / 3 then return {number, lacking, answer, firsts} end
local queue = KEYS[2]
if queue then call("LPUSH", queue, ARGV[FIRST + 3] .. string.format("%.0f", number) .. ARGV[FIRST + 4]) end
return string.format("%.0f %.0f %d", number, now, queue and 1 or 0)
