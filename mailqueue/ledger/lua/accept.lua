-- needs: common
-- Record new messages as scheduled, or as queued under one new number of their lane; nothing at all while a blob is
-- lacking, or when an idempotency key is another message's.
-- ARGV: lane, restored, replayed, then per message: id, envelope, relay, hold, send at, expires at, idempotency key, its
-- digest, number of blobs, the blobs' hashes. 0 and "" for none.
-- Reply: {number, lacking hashes, {per message: new, state, accepted at, id of the first under its key or ""}}, or
-- {-1, {place of the message whose key is taken, whose it is}}.

local lane, restored, replayed = ARGV[FIRST], ARGV[FIRST + 1] == "1", ARGV[FIRST + 2] == "1"
local known, keys, answer, lacking, asked, fresh, aliases = {}, {}, {}, {}, {}, {}, {}

local function known_message(id)
  if not known[id] then
    local v = call("HMGET", message(id), "s", "t")
    known[id] = v[1] and v
  end
  return known[id]
end

-- Who took the key, and the digest of its content.
local function holder_of(key)
  if key == "" then return nil end
  if not keys[key] then
    local id, digest = string.match(call("GET", key_holder(key)) or "", "^(%S+) (.*)$")
    if not id or not known_message(id) then return nil end -- a key outlives its message in a store that lost some
    keys[key] = {id, digest}
  end
  return unpack(keys[key])
end

local place = FIRST + 3
while place <= #ARGV do
  local id, key, digest, blobs = ARGV[place], ARGV[place + 6], ARGV[place + 7], tonumber(ARGV[place + 8])
  local first, first_digest = id, digest
  local v = known_message(id)
  if not v then
    first, first_digest = holder_of(key)
    v = first and known[first]
  end
  if v and first_digest ~= digest then return {-1, {#answer / 4, first}} end
  if not v then
    v = {tonumber(ARGV[place + 4]) > now and "scheduled" or "queued", now}
    fresh[#fresh + 1] = {at = place, state = v[1]}
    known[id] = v -- a second one of this call is no longer new
    if key ~= "" then keys[key] = {id, digest} end
    for at = place + 9, place + 8 + blobs do
      local hash = ARGV[at]
      if not asked[hash] then
        asked[hash] = true
        if call("EXISTS", blob(hash)) == 0 then lacking[#lacking + 1] = hash end
      end
    end
    first = id
    answer[#answer + 1] = 1
  else
    answer[#answer + 1] = 0
    if first ~= id then aliases[id] = first end
  end
  answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = v[1], v[2], first == id and "" or first
  place = place + 9 + blobs
end
if #lacking > 0 then return {0, lacking} end

-- The first write of new messages is one that could grow: a full store refuses it, and with it the whole call.
if #fresh == 0 then even_when_full() end
local number = 0
local function number_of_this()
  if number == 0 then number = call("HINCRBY", lane_key(lane), "counter", 1) end
  return number
end

for _, each in ipairs(fresh) do
  local at = each.at
  local id, key, blobs = ARGV[at], ARGV[at + 6], tonumber(ARGV[at + 8])
  local score = each.state == "queued" and number_of_this() or ARGV[at + 4]
  local write = {"HSET", message(id), "s", each.state, "l", lane, "t", now}
  local function set(name, value, none)
    if value ~= none then write[#write + 1], write[#write + 2] = name, value end
  end
  set("r", ARGV[at + 2], "")
  set("h", ARGV[at + 3], "0")
  if each.state == "scheduled" then set("n", ARGV[at + 4]) end
  if ARGV[at + 5] ~= "0" then
    set("e", ARGV[at + 5])
    enter("expiring", id, ARGV[at + 5])
  end
  set("i", key, "")
  set("z", blobs, 0)
  for index = 1, blobs do
    local hash = ARGV[at + 8 + index]
    set("z" .. index, hash)
    call("SADD", users(hash), id)
    call("PERSIST", blob(hash))
  end
  call(unpack(write))
  call("SET", envelope(id), ARGV[at + 1])
  if key ~= "" then call("SET", key_holder(key), id .. " " .. ARGV[at + 7]) end
  enter(each.state .. ":" .. lane, id, score)
  add(counts, lane .. ":" .. each.state, 1)
end
for id, first in pairs(aliases) do
  event("repeated")
  if replayed then call("SET", alias(id), first, "PX", RETENTION) end
end
if restored and #fresh > 0 then add(events, "restored", #fresh) end
finish()
return {number, lacking, answer}
