-- A lane's marks: how far its queue has been popped, now and at the two shifts before. See docs/ledger.md.

-- Shift the marks if that is due, then raise the newest to `popped` (0: nothing was popped).
-- `restart` begins the intervals anew instead: after an outage nobody knows what happened meanwhile.
-- Returns the older mark, at or below which a message that is still queued was lost, and since when the newest one
-- stands.
local function advance_marks(lane, popped, restart)
  local key = lane_key(lane)
  local v = call("HMGET", key, "counter", "mark", "mark1", "mark2", "shifted", "moved")
  local counter, mark, mark1, mark2 = tonumber(v[1] or 0), tonumber(v[2] or 0), tonumber(v[3] or 0), tonumber(v[4] or 0)
  local shifted, moved = tonumber(v[5] or 0), tonumber(v[6] or 0)
  local write = {"HSET", key}
  if restart or shifted == 0 or shifted > now then
    write = {"HSET", key, "shifted", now}
  elseif now - shifted >= SHIFT then
    mark2, mark1 = mark1, mark
    write = {"HSET", key, "shifted", now, "mark2", mark2, "mark1", mark1}
  end
  if popped > mark then
    mark, moved = popped, now
    for _, item in ipairs({"mark", mark, "moved", now, "barrier", 0, "gap", SHIFT}) do write[#write + 1] = item end
  elseif restart or moved == 0 or moved > now then -- it stands from now on
    moved = now
    write[#write + 1], write[#write + 2] = "moved", now
  end
  if popped > counter then -- the store has rolled back: numbers must go on above what is in the queues
    event("rolled_back")
    write[#write + 1], write[#write + 2] = "counter", popped
  end
  if #write > 2 then call(unpack(write)) end
  return mark2, moved
end
