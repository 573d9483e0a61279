-- needs: common campaign moves marks
-- Claim queued messages for an owner under a fence, having raised the lane's mark.
-- ARGV: lane, number, token, owner, alone, ids, one a line.
-- Reply, a line per id: "" (no record), "-" and the reason of a refusal, or "+", attempts so far, since when it ages,
-- suspect, answers lost, each with a space after it, and the results, which are JSON and have no line feed.

local lane, number, token, owner = ARGV[FIRST], tonumber(ARGV[FIRST + 1]), ARGV[FIRST + 2], ARGV[FIRST + 3]
local alone = ARGV[FIRST + 4] == "1"

even_when_full()
advance_marks(lane, number)

local function grant(m)
  local suspect = m.crashes > 0 and " 1 " or " 0 "
  return "+" .. m.attempts .. " " .. m.since .. suspect .. m.unknowns .. " " .. results_of(m)
end

local function claim(id)
  local m = load(id)
  if not m then
    local state = string.find(id, "~", 1, true) and bulk().ended(id)
    return state and "-" .. state or ""
  end
  if m.state == "sending" and m.fence == token then
    enter("leased", id, now + LEASE)
    return grant(m) -- the same call again: the same answer
  end
  if m.state ~= "queued" then return "-" .. m.state end
  if is_late(m) then
    expire(m)
    return "-expired"
  end
  local stopped = m.campaign and bulk().stop(m, move, expire)
  if stopped then return "-" .. stopped end
  if m.crashes > 0 and not alone then
    event("alone")
    defer(m, now, REASON_ALONE)
    return "-alone"
  end
  local fields = {f = token, o = owner, p = "claimed"}
  if m.turn > 0 and m.fence ~= token then fields.b = 0 end -- another worker counts from its own
  if alone ~= m.alone then fields.y = alone and "1" or "" end
  move(m, "sending", now + LEASE, fields)
  enter("owned", owner .. "\n" .. id, 0)
  return grant(m)
end

local reply = {}
for id in string.gmatch(ARGV[FIRST + 5], "[^\n]+") do reply[#reply + 1] = claim(id) end
finish()
return table.concat(reply, "\n")
