-- needs: common rates
-- Permits for messages to be sent now. Reply, a line per domain: granted, ms to wait, messages a second ("inf"), and 1
-- if its connections are limited; and a last line with these two of the relay.
-- ARGV: relay, owner, urgent, share of a quota kept for that, the relay's limits, the same as they are written, and a text
-- with a line for each domain: its name, how many, its limits, whether they name it, with tabs between.

local relay, owner, urgent = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2] == "1"
local share, text, written = tonumber(ARGV[FIRST + 3]), ARGV[FIRST + 4], ARGV[FIRST + 5]

even_when_full()
local overrides, slowed, held = load_overrides(relay), load_slowed(relay), load_held(relay)
local whole = open_account(relay, "", limits_of(overrides, "", text, true), nil, urgent, share)
local whole_free = may_hold(held, "", whole.connections, owner)

local asked, left = {}, room(whole)
for domain, number, said, exact in string.gmatch(ARGV[FIRST + 6], "([^\t\n]*)\t(%d+)\t([^\t\n]*)\t([01])") do
  number = tonumber(number)
  local limits = limits_of(overrides, domain, said, exact == "1")
  local a = open_account(relay, domain, limits, slowed[domain], urgent, share)
  a.domain, a.number, a.may = domain, number, 0
  if whole_free and may_hold(held, domain, a.connections, owner) then a.may = math.min(number, room(a)) end
  asked[#asked + 1] = a
end

-- Where the relay has not enough for all, the domains take turns: who wants less than its part leaves that to the others.
local turns = {}
for place, a in ipairs(asked) do
  a.place, turns[place] = place, a
end
table.sort(turns, function(one, other)
  if one.may ~= other.may then return one.may < other.may end
  return one.place < other.place
end)
for place, a in ipairs(turns) do
  a.granted = math.min(a.may, math.floor(left / (#turns - place + 1)))
  left = left - a.granted
end
for _, a in ipairs(asked) do
  if a.granted > 0 then
    charge(a, a.granted)
    charge(whole, a.granted)
    hold(held, a.domain, a.connections, owner)
    hold(held, "", whole.connections, owner)
  end
  close_account(a)
end
close_account(whole)
call("ZADD", RATES, now, relay)
call("HSET", rate_key("known", relay), "limits", overrides[""] and overrides["@own"] or written)
call("PEXPIRE", rate_key("known", relay), RATE_KNOWN)

local function told(rate, connections)
  local shown = rate < NEVER and string.format("%.17g", rate) or "inf"
  return shown .. (connections and " 1" or " 0")
end

local reply = {}
for _, a in ipairs(asked) do
  local wait = 0
  if a.granted < a.number then
    wait = math.max(time_to_wait(a), time_to_wait(whole))
    if not whole_free or not may_hold(held, a.domain, a.connections, owner) then wait = math.max(wait, RATE_WAIT_HELD) end
  end
  reply[#reply + 1] = string.format("%d %d ", a.granted, wait) .. told(math.min(a.rate, whole.rate), a.connections)
end
reply[#reply + 1] = told(whole.rate, whole.connections)
return table.concat(reply, "\n")
