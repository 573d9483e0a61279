-- The ways of a message between states: every change of state in every script goes through move().
-- WAYS() and the other capitals are generated from states.py and rules.py.

-- The sorted set that lists the messages of a state, some of one lane; sent, cancelled and expired have none.
local INDEX = {sending = "leased", unknown = "unknown", held = "held", partial = "partial", failed = "failed"}
local INDEX_OF_LANE = {scheduled = "scheduled:", queued = "queued:", deferred = "due:"}

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

-- What the moves need to know of a message. `asked` is what an operator wants done with it as soon as that can be.
local function load(id)
  local v = call(
    "HMGET", message(id), "s", "l", "f", "p", "o", "a", "c", "k", "q", "y", "h", "x", "z", "t", "n", "e", "i", "g",
    "b"
  )
  if not v[1] then return nil end
  local m = {
    id = id, state = v[1], lane = v[2], fence = v[3], phase = v[4], owner = v[5], attempts = tonumber(v[6] or 0),
    crashes = tonumber(v[7] or 0), alone_crashes = tonumber(v[8] or 0), unknowns = tonumber(v[9] or 0),
    alone = v[10] == "1", hold = v[11] == "1", results = v[12], blobs = tonumber(v[13] or 0),
    since = v[15] or v[14], expires = tonumber(v[16] or 0), key = v[17], asked = v[18] ~= "" and v[18],
    turn = tonumber(v[19] or 0),
  }
  if string.find(id, "~", 1, true) then m.campaign, m.digest = bulk().member_of(id) end
  return m
end

local function is_late(m) return m.expires > 0 and m.expires <= now end

local ways

local function leads(state, via, new)
  ways = ways or WAYS()
  for _, step in ipairs(via) do
    if not ways[state][step] then return false end
    state = step
  end
  return ways[state][new]
end

-- A blob is kept for as long as it has users, and BLOB_TTL longer.
local function leave_blobs(m)
  for number = 1, m.blobs do
    local hash = m.hashes and m.hashes[number] or call("HGET", message(m.id), "z" .. number)
    if hash then
      call("SREM", users(hash), m.id)
      if call("EXISTS", users(hash)) == 0 then call("EXPIRE", blob(hash), BLOB_TTL) end
    end
  end
end

-- States in which nothing is sent any more, not even by hand: the record has a time to live, and no envelope.
local RETIRED = {sent = true, cancelled = true, expired = true}
local FINAL = {sent = true, cancelled = true, expired = true, partial = true, failed = true}
-- States in which a message past its expires_at expires. Others come back to one of them first, or end.
local EXPIRABLE = {scheduled = true, queued = true, deferred = true}

local function retire(m, life)
  drop(envelope(m.id))
  leave_blobs(m)
  call("PEXPIRE", message(m.id), life)
  if m.results == "+" then call("PEXPIRE", long_results(m.id), life) end
  if m.key then call("PEXPIRE", key_holder(m.key), life) end
end

local DIRECT = {}

local function write_fields(m, fields)
  local write = {"HSET", message(m.id)}
  for name, value in pairs(fields) do
    write[#write + 1] = name
    write[#write + 1] = value
  end
  if #write > 2 then call(unpack(write)) end
end

-- Move a message to a state, at `score` in that state's index, setting further fields. `via` are states passed on the
-- way within this call. A way that the table does not have is a bug: it is counted and nothing changes, because an
-- error here would leave half a call done, and stop the recovery of all other messages.
local function move(m, new, score, fields, via)
  fields = fields or {}
  if not leads(m.state, via or DIRECT, new) then
    event("illegal")
    return false
  end
  local from, to = index_of(m.state, m.lane), index_of(new, m.lane)
  -- What became of a campaign's message is known by its campaign: its own record is kept only for a worker that asks
  -- again because it has lost its answer.
  local life = RETIRED[new] and RETENTION
  if m.campaign then
    bulk().moved(m, new, fields.w or "", fields.a or m.attempts)
    life = FINAL[new] and 2 * LEASE
    if life then to = nil end
  end
  if from and from ~= to then leave(from, m.id) end
  if to then enter(to, m.id, score) end
  if m.state == "sending" then
    leave("owned", m.owner .. "\n" .. m.id)
    fields.o = ""
  end
  if m.expires > 0 then
    if EXPIRABLE[new] then enter("expiring", m.id, m.expires) else leave("expiring", m.id) end
  end
  -- What was asked for while the message was being sent: it has come true now, or too late.
  if m.asked and new ~= "unknown" and new ~= "sending" then fields.g = "" end
  fields.s, fields.u = new, now
  write_fields(m, fields)
  add(counts, m.lane .. ":" .. m.state, -1)
  add(counts, m.lane .. ":" .. new, 1)
  m.state = new
  if life then retire(m, life) end
  return true
end

-- What was asked for while the last byte may have been going out is done instead of deferring: cancel, or hold.
local function do_as_asked(m, fields, via)
  via = {unpack(via or DIRECT)}
  via[#via + 1] = "deferred"
  if m.asked == "cancel" then
    fields.w = REASON_CANCELLED
    return move(m, "cancelled", now, fields, via)
  end
  fields.w = call("HGET", message(m.id), "j") or ""
  return move(m, "held", now, fields, via)
end

local function defer(m, due, reason, fields, via)
  fields = fields or {}
  if m.asked then return do_as_asked(m, fields, via) end
  fields.w = reason
  return move(m, "deferred", due, fields, via)
end

local function expire(m)
  event("expired")
  return move(m, "expired", now, {w = REASON_EXPIRED}, EXPIRABLE[m.state] and DIRECT or {"deferred"})
end

-- Results are kept in pieces, so that the hash stays a listpack (hash-max-listpack-value is 64), and with one more key
-- the message would take twice the room. The first piece that is not full is the last one.
local PIECES = {"x", "x1", "x2", "x3"}
local PIECE = 64

-- Add the fields that keep these results to `fields`; long ones have a key of their own. An empty text leaves what is
-- known as it is: a recipient's result is never forgotten.
local function keep_results(m, text, fields)
  if text == "" then return end
  if #text >= #PIECES * PIECE then
    call("SET", long_results(m.id), text, "KEEPTTL")
    if m.campaign and FINAL[m.state] then
      call("PEXPIRE", long_results(m.id), 2 * LEASE)
    elseif RETIRED[m.state] then
      call("PEXPIRE", long_results(m.id), RETENTION)
    end
    m.results = "+"
    fields.x = "+"
    return
  end
  if m.results == "+" then call("DEL", long_results(m.id)) end
  for place = 0, math.floor(#text / PIECE) do
    fields[PIECES[place + 1]] = string.sub(text, place * PIECE + 1, (place + 1) * PIECE)
  end
  m.results = fields.x
end

-- The results of a message as they were given.
local function results_of(m)
  local text = m.results or ""
  if text == "+" then return call("GET", long_results(m.id)) or "" end
  if #text < PIECE then return text end
  for _, piece in ipairs(call("HMGET", message(m.id), "x1", "x2", "x3")) do
    text = text .. (piece or "")
    if #(piece or "") < PIECE then break end
  end
  return text
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
  if m.asked then return do_as_asked(m, fields, via) end
  if m.unknowns >= RESENDS then
    fields.w = REASON_HELD
    return move(m, "held", now, fields, via)
  end
  event("resent")
  return move(m, "deferred", now + math.max(LEASE, wait), fields, via)
end

-- The claim of a message has ended without an answer: its worker died, or fell silent past the lease.
local function crash(m)
  local fields, wait = {c = m.crashes + 1}, 0
  event("crashed")
  if m.alone then
    wait = CRASH_WAIT * 3 ^ m.alone_crashes
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
  if m.phase == "begun" then return lose_answer(m, REASON_ANSWER_LOST, wait, fields) end
  return defer(m, now + wait, REASON_CRASHED, fields)
end
