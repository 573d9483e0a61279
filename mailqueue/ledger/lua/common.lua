-- What every operation stands on: the clock, the names of keys, writes that share a command, and the tallies.
-- KEYS[1] is what the names of all keys begin with: the hash tag and a colon. ARGV begins with: what is to be added to
-- the server's clock (0 but in tests), the lease, the retention. All times are ms. Numbers in capitals are generated
-- from rules.py.

local call = redis.call
local PREFIX = KEYS[1]

local clock = call("TIME")
local now = clock[1] * 1000 + math.floor(clock[2] / 1000) + ARGV[1]
local LEASE, RETENTION = tonumber(ARGV[2]), tonumber(ARGV[3])
local FIRST = 4 -- place in ARGV of an operation's own arguments

local function message(id) return PREFIX .. "m:" .. id end
local function envelope(id) return PREFIX .. "e:" .. id end
local function long_results(id) return PREFIX .. "x:" .. id end
local function blob(hash) return PREFIX .. "b:" .. hash end
local function users(hash) return PREFIX .. "u:" .. hash end
local function key_holder(key) return PREFIX .. "k:" .. key end
local function alias(id) return PREFIX .. "alias:" .. id end
local function lane_key(lane) return PREFIX .. "lane:" .. lane end

-- A store that is full refuses a script's first write if it could grow, and lets those after it pass. What drains the
-- store (results recorded, envelopes dropped) must go on then, so such a script begins with a write that cannot grow.
local function even_when_full() call("DEL", PREFIX .. "none") end

-- Changes of sorted sets and dropped envelopes are gathered, and written by flush() with a command or two per key
-- whatever the number of messages. The last word on a member counts.
local LONGEST = 2000 -- arguments of a command: Lua's unpack is limited to about 8000
local indexes, doomed = {}, {}

local function enter(index, member, score)
  indexes[index] = indexes[index] or {}
  indexes[index][member] = score
end

local function leave(index, member) enter(index, member, false) end

local function drop(key) doomed[#doomed + 1] = key end

local function in_slices(command, key, arguments)
  for first = 1, #arguments, LONGEST do
    call(command, key, unpack(arguments, first, math.min(first + LONGEST - 1, #arguments)))
  end
end

local function flush()
  for index, members in pairs(indexes) do
    local entering, leaving = {}, {}
    for member, score in pairs(members) do
      if score then
        entering[#entering + 1], entering[#entering + 2] = score, member
      else
        leaving[#leaving + 1] = member
      end
    end
    in_slices("ZADD", PREFIX .. index, entering)
    in_slices("ZREM", PREFIX .. index, leaving)
  end
  in_slices("DEL", PREFIX .. "none", doomed)
  indexes, doomed = {}, {}
end

-- Messages by lane and state, and events: added up during the call, written once at its end. What else is to be written
-- then, where there is anything.
local counts, events, at_finish = {}, {}, nil

local function add(tally, name, number) tally[name] = (tally[name] or 0) + number end

local function event(name) add(events, name, 1) end

local function finish()
  flush()
  for name, number in pairs(counts) do
    if number ~= 0 then call("HINCRBY", PREFIX .. "counts", name, number) end
  end
  for name, number in pairs(events) do call("HINCRBY", PREFIX .. "events", name, number) end
  if at_finish then at_finish() end
end
