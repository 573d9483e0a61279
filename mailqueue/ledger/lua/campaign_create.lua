-- needs: common
-- Make a campaign, unless there is one under this name; nothing at all while a blob is lacking.
-- ARGV: name, spec, lane, start at, expires at, width, then the hashes of its blobs.
-- Reply: {new, loading}; {known, its state}; {conflict}; or {lacking, hashes...}.

local name, spec, lane = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]
local start_at, expires_at, width = ARGV[FIRST + 3], ARGV[FIRST + 4], ARGV[FIRST + 5]
local key = PREFIX .. "c:" .. name

local known = call("HMGET", key, "state", "spec")
if known[1] then
  if known[2] ~= spec then return {"conflict"} end
  return {"known", known[1]}
end

local lacking, blobs = {"lacking"}, {}
for place = FIRST + 6, #ARGV do
  local hash = ARGV[place]
  blobs[#blobs + 1] = hash
  if call("EXISTS", blob(hash)) == 0 then lacking[#lacking + 1] = hash end
end
if #lacking > 1 then return lacking end

call(
  "HSET", key, "spec", spec, "state", "loading", "lane", lane, "created", now, "start_at", start_at, "expires_at",
  expires_at, "width", width, "total", 0, "chunks", 0, "blobs", table.concat(blobs, " ")
)
call("ZADD", PREFIX .. "campaigns", now, name)
call("ZADD", PREFIX .. "campaigns:ended", now, name) -- unless somebody goes on with it
for _, hash in ipairs(blobs) do
  call("SADD", users(hash), "c:" .. name)
  call("PERSIST", blob(hash))
end
return {"new", "loading"}
