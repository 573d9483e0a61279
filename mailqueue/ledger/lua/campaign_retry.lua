-- needs: common campaign moves campaigns
-- Let recipients who failed wait once more, as one chunk; what is left of their first messages goes. All or nothing.
-- ARGV: name, content, digests, one a line.
-- Reply: {done}; {missing}; {illegal, state}; or {others, digests that have not failed...}.

local name, key, content, digests = ARGV[FIRST], key_of(ARGV[FIRST]), ARGV[FIRST + 1], ARGV[FIRST + 2]
local STAYS = {running = true, paused = true, scheduled = true}

local c = bulk().named(name)
if not c or call("HEXISTS", key, "swept") == 1 then return {"missing"} end
if c.expires > 0 and c.expires <= now then return {"illegal", "expired"} end
if c.state ~= "finished" and not STAYS[c.state] then return {"illegal", c.state} end

local others, left, number, waiting = {"others"}, {}, 0, 0
for digest in digests_in(digests) do
  number = number + 1
  local state, rest = bulk().final_of(c, digest)
  local m = state == "failed" and load(name .. "~" .. digest)
  if state ~= "failed" or m and not FINAL[m.state] then -- one that was restored may have been requeued by hand
    others[#others + 1] = digest
    if not state and rest then waiting = waiting + 1 end
  elseif m then
    left[#left + 1] = m
  end
end
if #others > 1 then
  local last = call("HGET", key, "chunks")
  if waiting == number and call("GET", key .. ":k:" .. last) == content then return {"done"} end
  return others
end

push(key, "", content)
for digest in digests_in(digests) do
  local hash, field = bulk().place_of(c, digest)
  call("HSET", hash, field, "w")
end
for _, m in ipairs(left) do forget(m) end
bulk().tally(c, "failed", -number)
if c.state == "finished" then
  call("HSET", key, "state", "running", "ended", 0)
  call("ZREM", PREFIX .. "campaigns:ended", name)
  look_at(name, 0)
end
finish()
return {"done"}
