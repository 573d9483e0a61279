-- needs: common campaign moves campaigns
-- Add a chunk of recipients to a campaign that is loading, all of them new to it; or nothing.
-- ARGV: name, content, digests, one a line.
-- Reply: {added, number}; {missing}; {illegal, state}; or {known, digests...}.

local key, content, digests = key_of(ARGV[FIRST]), ARGV[FIRST + 1], ARGV[FIRST + 2]
local c = bulk().named(ARGV[FIRST])
if not c then return {"missing"} end
if c.state ~= "loading" then return {"illegal", c.state} end

local known, fresh, number = {"known"}, {}, 0
for digest in digests_in(digests) do
  number = number + 1
  local hash, field = bulk().place_of(c, digest)
  local list = call("HSETNX", hash, field, "w") == 1 and fresh or known
  list[#list + 1] = digest
end
if #known > 1 then
  for _, digest in ipairs(fresh) do call("HDEL", bulk().place_of(c, digest)) end
  local last = call("HGET", key, "chunks")
  if #known > number and call("GET", key .. ":k:" .. last) == content then return {"added", tonumber(last)} end
  return known
end

local added = push(key, "", content)
call("HINCRBY", key, "total", number)
call("ZADD", PREFIX .. "campaigns:ended", now, c.name)
return {"added", added}
