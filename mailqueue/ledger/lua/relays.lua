-- Relays in trouble: for each a hash, listed in a set. A relay that is well has neither.

local RELAYS = PREFIX .. "relays"
local NUMBERS = {since = true, ["until"] = true, wait = true, times = true, probing = true}
local LATCH = "latch:" -- begins the fields that name settings whose credentials were refused

local function relay_key(relay) return PREFIX .. "relay:" .. relay end

-- What is known of a relay in trouble, or nil. A latch lasts for the retention: by then its settings are history.
local function load_relay(relay)
  local v = call("HGETALL", relay_key(relay))
  if #v == 0 then return nil end
  local r = {latched = {}}
  for place = 1, #v, 2 do
    local name, value = v[place], v[place + 1]
    if string.sub(name, 1, #LATCH) ~= LATCH then
      r[name] = NUMBERS[name] and tonumber(value) or value
    elseif now - value < RETENTION then
      r[name] = value
      r.latched[#r.latched + 1] = string.sub(name, #LATCH + 1)
    end
  end
  r.times = r.times or 0
  return (r.times > 0 or #r.latched > 0) and r or nil
end

-- What it is besides the latches.
local TROUBLE = {"until", "wait", "times", "over", "prober", "probing"}

-- How long it is still to be left alone, in ms. What ends later than it was long was given before the clock was set back.
local function time_left(r)
  if not r["until"] then return 0 end
  local left = r["until"] - now
  return left <= r.wait and math.max(0, left) or 0
end

-- Whether another than `owner` is asking it just now.
local function is_probed(r, owner)
  return r.prober and r.prober ~= owner and r.probing > now and r.probing <= now + LEASE
end
