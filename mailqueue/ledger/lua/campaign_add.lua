-- needs: common campaign moves campaigns
-- Add a chunk of recipients to a campaign that is loading, all of them new to it; or nothing.
-- ARGV: name, content, digests, one a line.
-- Reply: {added, number}; {missing}; {illegal, state}; or {known, digests...}.

local key, content, digests = named(""), ARGV[FIRST + 1], ARGV[FIRST + 2]
local c = campaign_named(ARGV[FIRST])
if not c then return {"missing"} end
if c.state ~= "loading" then return {"illegal", c.state} end

local known, number = {"known"}, 0
for digest in digests_in(digests) do
  number = number + 1
  if call("HEXISTS", place_of(c, digest)) == 1 then known[#known + 1] = digest end
end
if #known > 1 then
  local last = call("HGET", key, "chunks")
  if #known > number and call("GET", key .. ":k:" .. last) == content then return {"added", tonumber(last)} end
  return known
end

local added = push(key, "", content) -- before the index: a full store refuses it, and with it the whole call
for digest in digests_in(digests) do
  local hash, field = place_of(c, digest)
  call("HSET", hash, field, "w")
end
call("HINCRBY", key, "total", number)
return {"added", added}
