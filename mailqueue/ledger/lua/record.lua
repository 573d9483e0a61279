-- needs: common campaign moves
-- Record what became of claimed messages. Reply, a digit per settlement: 1, or 0 if its fence is another by now.
-- ARGV: token, the call's number, settlements, one a line: id, state, results, due in, reason, with a tab between. The
-- results are JSON, which has neither tabs nor line feeds, and the reason is one line.

local token, turn = ARGV[FIRST], tonumber(ARGV[FIRST + 1])

-- An answer that comes when the claim is over, its fence still standing, takes the claim up again: these are the
-- states that the message passes through on its way back to sending.
local LATE = {sending = {}, unknown = {}, queued = {"sending"}, deferred = {"queued", "sending"}}
local LATE_HELD = {"deferred", "queued", "sending"} -- held by the ledger itself, for want of an answer

local function way_back(m)
  if m.state == "held" and m.phase == "unknown" then return {unpack(LATE_HELD)} end
  return LATE[m.state] and {unpack(LATE[m.state])}
end

local function settle(m, state, results, due_in, reason)
  local via = way_back(m)
  if m.state ~= "sending" then event("late") end
  if state == "sending" or not via then
    -- An attempt that goes on; or a message beyond settling, for which what is known is kept for the operator.
    local fields = {}
    keep_results(m, results, fields)
    if m.state == "sending" then fields.p, fields.b = "claimed", turn end
    write_fields(m, fields)
    if m.state == "sending" then
      enter("leased", m.id, now + LEASE)
      if m.asked then defer(m, now, "") end
    end
    return
  end
  local charged = m.phase == "unknown" -- when the answer was found lost
  if state == "unknown" then
    if charged then return end
    local fields = {}
    keep_results(m, results, fields)
    lose_answer(m, reason, due_in, fields, via)
    return
  end
  local fields = {p = "answered", w = reason}
  keep_results(m, results, fields)
  if state == "cancelled" then
    via[#via + 1] = "deferred"
  elseif state ~= "held" and not charged then
    fields.a = m.attempts + 1
  end
  if state == "deferred" then
    -- From unknown and held a way leads to deferred directly.
    if m.state == "unknown" or m.state == "held" then via = nil end
    defer(m, now + due_in, reason, fields, via)
    return
  end
  move(m, state, now, fields, via)
end

even_when_full()
local reply = {}
local SETTLEMENT = "([^\t\n]+)\t(%a+)\t([^\t\n]*)\t(%d+)\t([^\n]*)"
for id, state, results, due_in, reason in string.gmatch(ARGV[FIRST + 2], SETTLEMENT) do
  local m = load(id)
  if not m and string.find(id, "~", 1, true) and bulk().ended(id) then
    reply[#reply + 1] = 1
  elseif not m or m.fence ~= token then
    event("fenced")
    reply[#reply + 1] = 0
  else
    -- One that arrives once more, late, may have been followed by another begin.
    if m.phase ~= "answered" and turn >= m.turn then settle(m, state, results, tonumber(due_in), reason) end
    reply[#reply + 1] = 1
  end
end
finish()
return table.concat(reply)
