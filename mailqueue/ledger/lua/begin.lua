-- needs: common campaign moves
-- The last bytes of these messages are about to go out. Reply, a digit per id: 1, or 0 if the claim is over, or the
-- time is. ARGV: token, the call's number, ids, one a line.

local token, turn = ARGV[FIRST], tonumber(ARGV[FIRST + 1])

-- States in which a message rests that was stopped while it was claimed: that is no fence's doing.
local STOPPED = {cancelled = true, held = true, expired = true}

local function begin(id)
  local v = call("HMGET", message(id), "s", "f", "e", "b", "p")
  if v[1] ~= "sending" or v[2] ~= token then
    if not (v[2] == token and v[5] == "claimed" and STOPPED[v[1]]) then event("fenced") end
    return 0
  end
  if turn <= tonumber(v[4] or 0) then return 1 end -- it arrives once more, late, and nobody listens
  if v[3] and tonumber(v[3]) <= now then
    expire(load(id))
    return 0
  end
  if string.find(id, "~", 1, true) then
    local c = bulk().named((bulk().parts_of(id))) -- of one that may go, nothing more is looked at
    if c and bulk().stop_of(c) and bulk().stop(load(id), move, expire) then return 0 end
  end
  call("HSET", message(id), "p", "begun", "b", turn)
  enter("leased", id, now + LEASE)
  return 1
end

even_when_full()
local reply = {}
for id in string.gmatch(ARGV[FIRST + 2], "[^\n]+") do reply[#reply + 1] = begin(id) end
finish()
return table.concat(reply)
