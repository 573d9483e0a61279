-- needs: common
-- Record new messages as queued under one new number of their lane; nothing at all while a blob is lacking.
-- ARGV: lane, restored, then per message: id, envelope, relay, hold, number of blobs, the blobs' hashes.
-- Reply: {number, lacking hashes, {per message: new, state, accepted at}}.

local lane, restored = ARGV[FIRST], ARGV[FIRST + 1] == "1"
local known, answer, lacking, asked, fresh = {}, {}, {}, {}, {}

local place = FIRST + 2
while place <= #ARGV do
  local id, blobs = ARGV[place], tonumber(ARGV[place + 4])
  local v = known[id] or call("HMGET", message(id), "s", "t")
  if v[1] then
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = 0, v[1], v[2]
  else
    known[id] = {"queued", now} -- a second one of this call is no longer new
    fresh[#fresh + 1] = place
    answer[#answer + 1], answer[#answer + 2], answer[#answer + 3] = 1, "queued", now
    for at = place + 5, place + 4 + blobs do
      local hash = ARGV[at]
      if not asked[hash] then
        asked[hash] = true
        if call("EXISTS", blob(hash)) == 0 then lacking[#lacking + 1] = hash end
      end
    end
  end
  place = place + 5 + blobs
end
if #lacking > 0 then return {0, lacking} end
if #fresh == 0 then return {0, lacking, answer} end

-- The first write: a full store refuses it, and with it the whole call.
local number = call("HINCRBY", lane_key(lane), "counter", 1)
for _, at in ipairs(fresh) do
  local id, relay, blobs = ARGV[at], ARGV[at + 2], tonumber(ARGV[at + 4])
  local write = {"HSET", message(id), "s", "queued", "l", lane, "t", now}
  if relay ~= "" then write[#write + 1], write[#write + 2] = "r", relay end
  if ARGV[at + 3] == "1" then write[#write + 1], write[#write + 2] = "h", "1" end
  if blobs > 0 then
    write[#write + 1], write[#write + 2] = "z", blobs
    for index = 1, blobs do
      local hash = ARGV[at + 4 + index]
      write[#write + 1], write[#write + 2] = "z" .. index, hash
      call("SADD", users(hash), id)
      call("PERSIST", blob(hash))
    end
  end
  call(unpack(write))
  call("SET", envelope(id), ARGV[at + 1])
  enter("queued:" .. lane, id, number)
end
add(counts, lane .. ":queued", #fresh)
if restored then add(events, "restored", #fresh) end
finish()
return {number, lacking, answer}
