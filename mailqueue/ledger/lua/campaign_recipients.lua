-- needs: common campaign
-- What became of recipients so far. ARGV: name, digests, one a line.
-- Reply: for each that the campaign has: digest, state, reply.

local name = ARGV[FIRST]
local c = bulk().named(name)
local answer = {}
if not c then return answer end
local waits_as = (c.state == "cancelled" or c.state == "expired") and c.state or "waiting"
for digest in string.gmatch(ARGV[FIRST + 1], "[^\n]+") do
  local state, rest = bulk().final_of(c, digest)
  if not state and rest then
    local v = call("HMGET", message(name .. "~" .. digest), "s", "w", "m")
    state, rest = waits_as, ""
    if v[1] and v[3] == c.created then state, rest = v[1], v[2] or "" end
  end
  if state then
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = digest, state, rest
  end
end
return answer
