-- The rate limits. A relay, and a domain behind it, that has limits has an account, in two keys:
--   rate:pace:...    "debt at": what the pace (messages a second) has still to make up for, in messages, and since when
--   rate:use:...     a hash, for each quota for LENGTH ms: LENGTH:n is what counts now, LENGTH:slot the latest sixtieth of
--                    it that has begun, LENGTH:SLOT what was sent in that sixtieth
-- Limits arrive as text, "messages:ms" for each rate and "cN" for connections; "" is none.

local RATES = PREFIX .. "rates" -- the relays that were asked about, by when that was last so
local NEAR = 1e-9 -- what floating point may make of a whole number
local NEVER = math.huge

local function rate_key(kind, name) return PREFIX .. "rate:" .. kind .. ":" .. name end

local function account_key(relay, domain) return rate_key("use", domain .. "@" .. relay) end

local function pace_key(relay, domain) return rate_key("pace", domain .. "@" .. relay) end

local NONE = {}

local function read_limits(text)
  if text == "" then return {quotas = NONE, pace = NEVER, rate = NEVER} end
  local limits = {quotas = {}, pace = NEVER, rate = NEVER}
  for word in string.gmatch(text, "%S+") do
    local connections = string.match(word, "^c(%d+)$")
    if connections then
      limits.connections = tonumber(connections)
    else
      local messages, length = string.match(word, "^([^:]+):(%d+)$")
      messages = tonumber(messages)
      limits.rate = math.min(limits.rate, messages * 1000 / length)
      if length == "1000" then
        limits.pace = messages
      else
        limits.quotas[#limits.quotas + 1] = {name = length, slot = length / RATE_SLOTS, limit = messages}
      end
    end
  end
  return limits
end

-- An operator's limits, by holder, "" for the relay; "@" is their text.
local function load_overrides(relay)
  local v, found = call("HGETALL", rate_key("set", relay)), {}
  for place = 1, #v, 2 do found[v[place]] = v[place + 1] end
  return found
end

-- What holds for a domain: an override before the settings, its name before "*". `exact`: the settings name it.
local function limits_of(overrides, domain, text, exact)
  local found = overrides[domain]
  if not found and domain ~= "" and not exact then found = overrides["*"] end
  if not found then return read_limits(text) end
  local limits, named, quotas = read_limits(found), {}, {}
  for _, quota in ipairs(limits.quotas) do
    named[quota.name] = true
    quotas[#quotas + 1] = quota
  end
  for _, quota in ipairs(read_limits(text).quotas) do
    if not named[quota.name] then -- it is counted all the same: it may hold again
      quota.limit = NEVER
      quotas[#quotas + 1] = quota
    end
  end
  limits.quotas = quotas
  return limits
end

-- Slowed domains: "rate full since reason".

local function load_slowed(relay)
  local key = rate_key("slow", relay)
  local v, found = call("HGETALL", key), {}
  for place = 1, #v, 2 do
    local rate, full, at, reason = string.match(v[place + 1], "^(%S+) (%S+) (%d+) (.*)$")
    local s = {rate = tonumber(rate), full = tonumber(full), at = tonumber(at), reason = reason}
    local steps = math.max(0, math.floor((now - s.at) / RATE_RECOVERY_STEP))
    s.now = s.rate * RATE_RECOVERY ^ math.min(steps, 100) -- a billion times as much
    if s.now >= s.full then
      call("HDEL", key, v[place])
    else
      found[v[place]] = s
    end
  end
  return found
end

-- Accounts.

local function slot_field(quota, slot) return quota.name .. ":" .. string.format("%d", slot) end

-- What counts of a quota now, having left out what is over.
local function advance(a, quota)
  local n, at = unpack(call("HMGET", a.key, quota.name .. ":n", quota.name .. ":slot"))
  quota.n, quota.at, quota.over = tonumber(n or 0), tonumber(at or 0), {}
  local current = math.floor(now / quota.slot)
  if current <= quota.at then return end
  if at then
    local fields = {}
    for slot = quota.at - RATE_SLOTS, math.min(quota.at, current - RATE_SLOTS - 1) do
      fields[#fields + 1] = slot_field(quota, slot)
    end
    if #fields > 0 then
      for place, count in ipairs(call("HMGET", a.key, unpack(fields))) do
        if count then
          quota.n = quota.n - count
          quota.over[#quota.over + 1] = fields[place]
        end
      end
    end
  end
  quota.at = current
end

-- An account with the limits that hold for it in this call. `share`: part of each quota that is kept for urgent mail.
local function open_account(relay, domain, limits, slowed, urgent, share)
  local a = limits
  if slowed then
    a.pace = math.min(a.pace, slowed.now)
    a.rate = math.min(a.rate, slowed.now)
  end
  if #a.quotas > 0 then a.key = account_key(relay, domain) end
  for _, quota in ipairs(a.quotas) do
    advance(a, quota)
    quota.may = quota.limit
    if not urgent and quota.limit < NEVER then quota.may = quota.limit - math.floor(quota.limit * share) end
  end
  if a.pace == NEVER then return a end
  a.pace_key = pace_key(relay, domain)
  local known = call("GET", a.pace_key)
  local debt, at = 0, 0
  if known then
    local first, second = string.match(known, "^(%S+) (%d+)$")
    debt, at = tonumber(first), tonumber(second)
    if at > now then -- a clock that was set back
      at = now
      call("SET", a.pace_key, first .. string.format(" %d", now), "KEEPTTL")
    end
  end
  local highest = 2 + (RATE_BURST + RATE_AHEAD) * a.pace -- more is left of a higher rate
  a.debt = math.max(0, math.min(debt, highest) - (now - at) * a.pace / 1000)
  a.cap = 1 + RATE_BURST * a.pace
  if urgent then a.cap = a.cap + math.max(1, RATE_AHEAD * a.pace) end
  return a
end

local function room(a)
  local found = NEVER
  if a.pace < NEVER then found = math.floor(a.cap - a.debt + NEAR) end
  for _, quota in ipairs(a.quotas) do found = math.min(found, quota.may - quota.n) end
  return math.max(0, found)
end

local function charge(a, number)
  if a.pace < NEVER then a.debt = a.debt + number end
  for _, quota in ipairs(a.quotas) do
    quota.n = quota.n + number
    quota.new = (quota.new or 0) + number
  end
  a.charged = true
end

-- Write what was charged.
local function close_account(a)
  if not a.charged then return end
  if a.pace < NEVER then
    local kept = math.max(RATE_IDLE, math.ceil(a.debt * 1000 / a.pace))
    call("SET", a.pace_key, string.format("%.17g %d", a.debt, now), "PX", string.format("%d", kept))
  end
  if #a.quotas == 0 then return end
  local fields, longest = {}, 0
  for _, quota in ipairs(a.quotas) do
    for name, value in pairs({n = quota.n, slot = quota.at}) do
      fields[#fields + 1], fields[#fields + 2] = quota.name .. ":" .. name, string.format("%d", value)
    end
    call("HINCRBY", a.key, slot_field(quota, quota.at), string.format("%d", quota.new))
    if #quota.over > 0 then call("HDEL", a.key, unpack(quota.over)) end
    longest = math.max(longest, (RATE_SLOTS + 2) * quota.slot)
  end
  call("HSET", a.key, unpack(fields))
  call("PEXPIRE", a.key, string.format("%d", longest))
end

-- ms until one more may go.
local function time_to_wait(a)
  local found = 0
  if a.pace < NEVER then
    local missing = a.debt + 1 - a.cap - NEAR
    if missing > 0 then found = math.ceil(missing * 1000 / a.pace) end
  end
  for _, quota in ipairs(a.quotas) do
    local excess = quota.n - quota.may + 1
    if excess > 0 then
      local fields = {}
      for slot = quota.at - RATE_SLOTS, quota.at do fields[#fields + 1] = slot_field(quota, slot) end
      local free = quota.at
      for place, count in ipairs(call("HMGET", a.key, unpack(fields))) do
        excess = excess - (count or 0)
        if excess <= 0 then
          free = quota.at - RATE_SLOTS + place - 1
          break
        end
      end
      found = math.max(found, (free + RATE_SLOTS + 1) * quota.slot - now)
    end
  end
  return found
end

-- Connections: until when who occupies one, as "domain \n owner", "" for the relay's own.

local function load_held(relay)
  local held = {key = rate_key("held", relay), untils = {}, counts = {}}
  local v = call("HGETALL", held.key)
  for place = 1, #v, 2 do
    local ends = tonumber(v[place + 1])
    if ends > now and ends <= now + RATE_HOLD then
      local domain = string.match(v[place], "^([^\n]*)\n")
      held.untils[v[place]] = ends
      held.counts[domain] = (held.counts[domain] or 0) + 1
    else
      call("HDEL", held.key, v[place])
    end
  end
  return held
end

local function may_hold(held, domain, connections, owner)
  if not connections then return true end
  return held.untils[domain .. "\n" .. owner] ~= nil or (held.counts[domain] or 0) < connections
end

local function hold(held, domain, connections, owner)
  if not connections then return end
  local field = domain .. "\n" .. owner
  if not held.untils[field] then held.counts[domain] = (held.counts[domain] or 0) + 1 end
  held.untils[field] = now + RATE_HOLD
  call("HSET", held.key, field, now + RATE_HOLD)
  call("PEXPIRE", held.key, RATE_HOLD)
end

-- What was seen to be sent lately, by stretches of time; "@" is when the first count of one came.

local function seen_key(relay, stretch) return rate_key("seen", string.format("%d", stretch) .. ":" .. relay) end

local function observed(relay, domain)
  local stretch, number, since = math.floor(now / RATE_OBSERVED), 0, nil
  for each = stretch - 1, stretch do
    local count, first = unpack(call("HMGET", seen_key(relay, each), domain, "@"))
    if count and tonumber(count) > 0 then
      number = number + count
      since = since or tonumber(first)
    end
  end
  return since and number * 1000 / math.max(1000, now - since) or 0
end
