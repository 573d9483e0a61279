-- The ways of a message between states: every change of state in every script goes through move().
-- WAYS and the other capitals are generated from states.py and rules.py.

-- The sorted set that lists the messages of a state, some of one lane; sent, cancelled and expired have none.
local INDEX = {
  scheduled = "scheduled", sending = "leased", unknown = "unknown", held = "held", partial = "partial",
  failed = "failed",
}
local INDEX_OF_LANE = {queued = "queued:", deferred = "due:"}

local function index_of(state, lane)
  if INDEX_OF_LANE[state] then return INDEX_OF_LANE[state] .. lane end
  return INDEX[state]
end

-- The lanes that have ever had a message.
local function lanes_in_use()
  local lanes, seen = {}, {}
  for _, name in ipairs(call("HKEYS", PREFIX .. "counts")) do
    local lane = string.match(name, "^(.*):")
    if not seen[lane] then
      seen[lane] = true
      lanes[#lanes + 1] = lane
    end
  end
  return lanes
end

-- What the moves need to know of a message.
local function load(id)
  local v = call("HMGET", message(id), "s", "l", "f", "p", "o", "a", "c", "k", "q", "y", "h", "x", "z", "t")
  if not v[1] then return nil end
  return {
    id = id, state = v[1], lane = v[2], fence = v[3], phase = v[4], owner = v[5], attempts = tonumber(v[6] or 0),
    crashes = tonumber(v[7] or 0), alone_crashes = tonumber(v[8] or 0), unknowns = tonumber(v[9] or 0),
    alone = v[10] == "1", hold = v[11] == "1", results = v[12], blobs = tonumber(v[13] or 0),
    accepted = v[14],
  }
end

local function leads(state, via, new)
  for _, step in ipairs(via) do
    if not WAYS[state][step] then return false end
    state = step
  end
  return WAYS[state][new]
end

local DIRECT = {}

-- Move a message to a state, at `score` in that state's index, setting further fields. `via` are states passed on the
-- way within this call. A way that the table does not have is a bug: it is counted and nothing changes, because an
-- error here would leave half a call done, and stop the recovery of all other messages.
local function move(m, new, score, fields, via)
  if not leads(m.state, via or DIRECT, new) then
    event("illegal")
    return false
  end
  local from, to = index_of(m.state, m.lane), index_of(new, m.lane)
  if from and from ~= to then leave(from, m.id) end
  if to then enter(to, m.id, score) end
  if m.state == "sending" then
    leave("owned", m.owner .. "\n" .. m.id)
    fields.o = ""
  end
  local write = {"HSET", message(m.id), "s", new, "u", now}
  for name, value in pairs(fields) do
    write[#write + 1] = name
    write[#write + 1] = value
  end
  call(unpack(write))
  add(counts, m.lane .. ":" .. m.state, -1)
  add(counts, m.lane .. ":" .. new, 1)
  m.state = new
  return true
end

local function defer(m, due, reason, fields, via)
  fields = fields or {}
  fields.w = reason
  return move(m, "deferred", due, fields, via)
end

-- States whose records have a time to live, and no envelope.
local EXPIRING = {sent = true, cancelled = true, expired = true}

-- A blob is kept for as long as it has users, and BLOB_TTL longer.
local function leave_blobs(m)
  for number = 1, m.blobs do
    local hash = call("HGET", message(m.id), "z" .. number)
    if hash then
      call("SREM", users(hash), m.id)
      if call("EXISTS", users(hash)) == 0 then call("EXPIRE", blob(hash), BLOB_TTL) end
    end
  end
end

local function drop_envelope(m)
  drop(envelope(m.id))
  leave_blobs(m)
end

local function retire(m)
  drop_envelope(m)
  call("PEXPIRE", message(m.id), RETENTION)
  if m.results == "+" then call("PEXPIRE", long_results(m.id), RETENTION) end
end

-- Write results: short ones are a field of the hash, others have a key of their own, so that the hash stays a listpack.
-- Returns the field's value. An empty text leaves what is known as it is: a recipient's result is never forgotten.
local function keep_results(m, text)
  if text == "" then return nil end
  if #text > 64 then
    call("SET", long_results(m.id), text, "KEEPTTL")
    m.results = "+"
  else
    if m.results == "+" then call("DEL", long_results(m.id)) end
    m.results = text
  end
  return m.results
end

-- The last byte may have gone out and no answer was recorded: count it, and do as the message's policy says.
-- `via` leads to sending, should the claim be over; `wait` is how long (ms) a further copy is put off, at least.
local function lose_answer(m, reason, wait, fields, via)
  event("unknown")
  fields.q = m.unknowns + 1
  fields.a = m.attempts + 1
  fields.p = "unknown"
  fields.w = reason
  via = via or {}
  if m.hold then return move(m, "unknown", now, fields, via) end
  via[#via + 1] = "unknown"
  if m.unknowns >= RESENDS then
    fields.w = REASON_HELD
    return move(m, "held", now, fields, via)
  end
  event("resent")
  return move(m, "deferred", now + math.max(LEASE, wait), fields, via)
end

-- The claim of a message has ended without an answer: its worker died, or fell silent past the lease.
local function crash(m)
  local fields = {c = m.crashes + 1}
  event("crashed")
  if m.alone then
    fields.k = m.alone_crashes + 1
    if fields.k >= POISON_CRASHES then
      event("poisoned")
      fields.w = REASON_POISON
      if m.phase == "begun" then
        event("unknown")
        fields.q, fields.a, fields.p = m.unknowns + 1, m.attempts + 1, "unknown"
      end
      return move(m, "failed", now, fields)
    end
  end
  if m.phase == "begun" then return lose_answer(m, REASON_ANSWER_LOST, 0, fields) end
  return defer(m, now, REASON_CRASHED, fields)
end
