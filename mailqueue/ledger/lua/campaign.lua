-- Campaigns, as their messages know them. The id of such a message is CAMPAIGN~DIGEST; of others only the id is looked
-- at. LETTERS() is generated from campaigns.py, both ways; see docs/ledger.md for the keys.

local campaigns, letters = {}, nil

-- The name of a campaign and the digest of a recipient, from the id of a message; nothing from the ids of others.
local function parts_of(id)
  if not string.find(id, "~", 1, true) then return nil end
  return string.match(id, "^(.*)~(.*)$")
end

-- What the moves need to know of a campaign, asked for once a call; false if there is none.
local function campaign_named(name)
  local c = campaigns[name]
  if c == nil then
    local v = call("HMGET", campaign_key(name), "state", "created", "open_until", "expires_at", "width")
    c = v[1] and {
      name = name, key = campaign_key(name), parked = "c:" .. name .. ":parked", state = v[1], created = v[2],
      open_until = tonumber(v[3] or 0), expires = tonumber(v[4] or 0), width = tonumber(v[5]),
    } or false
    campaigns[name] = c
  end
  return c
end

-- What becomes of a message of it that is about to go out; nil if it may. One that has finished has those that an
-- operator lets go.
local function stop_of(c)
  if c.state == "finished" then return nil end
  if c.state == "cancelled" then return "cancelled" end
  if c.state == "expired" or c.expires > 0 and c.expires <= now then return "expired" end
  if c.state ~= "running" or c.open_until > 0 and c.open_until <= now then return "held" end
  return nil
end

-- The campaign that counts this message as its own, and the recipient's digest. Not one of another campaign under the
-- same name, nor one that was restored when the store had lost the campaign.
local function member_of(id)
  local name, digest = parts_of(id)
  local c = campaign_named(name)
  if c and call("HGET", message(id), "m") == c.created then return c, digest end
end

-- Where a recipient is in the index of its campaign: key and field.
local function place_of(c, digest)
  return c.key .. ":i:" .. string.sub(digest, 1, c.width), string.sub(digest, c.width + 1)
end

local function tally(c, state, number)
  tallies[c.name] = tallies[c.name] or {}
  add(tallies[c.name], state, number)
end

-- How a recipient has ended and the reply that was kept; or nothing, but whether it waits.
local function final_of(c, digest)
  local value = call("HGET", place_of(c, digest))
  if not value or value == "w" then return nil, value == "w" end
  letters = letters or LETTERS()
  return letters[string.sub(value, 1, 1)], string.sub(value, 2)
end

-- Write how a recipient has ended: a state, or suppressed.
local function conclude(c, digest, state, reply)
  if #reply > KEPT_OCTETS then
    local last = KEPT_OCTETS - 3
    while last > 0 and string.find(reply, "^[\128-\191]", last + 1) do last = last - 1 end -- not inside a character
    reply = string.sub(reply, 1, last) .. "…"
  end
  letters = letters or LETTERS()
  local key, field = place_of(c, digest)
  call("HSET", key, field, letters[state] .. reply)
end

-- How a campaign's message has ended whose own record is gone: its state, the reply that was kept, the campaign.
local function ended(id)
  local name, digest = parts_of(id)
  local c = name and campaign_named(name)
  if not c then return nil end
  local state, reply = final_of(c, digest)
  return state == "suppressed" and "cancelled" or state, reply, c
end
