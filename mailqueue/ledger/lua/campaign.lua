-- Campaigns, as their messages know them. The id of such a message is CAMPAIGN~DIGEST. A script defines its functions
-- anew at every call, so these are made when the first such id is met: of other mail only the id is looked at.
-- LETTERS is generated from campaigns.py; see docs/ledger.md for the keys.

local made

local function bulk()
  if made then return made end
  local b, campaigns, letters, tallies = {}, {}, {}, {}
  for letter, state in string.gmatch(LETTERS, "(%a) (%a+)") do letters[letter], letters[state] = state, letter end

  -- The name of a campaign and the digest of a recipient, from the id of a message; nothing from the ids of others.
  function b.parts_of(id) return string.match(id, "^(.*)~(.*)$") end

  -- What the moves need to know of a campaign, asked for once a call; false if there is none.
  function b.named(name)
    local c = campaigns[name]
    if c == nil then
      local key = PREFIX .. "c:" .. name
      local v = call("HMGET", key, "state", "created", "open_until", "expires_at", "width")
      c = v[1] and {
        name = name, key = key, parked = "c:" .. name .. ":parked", state = v[1], created = v[2],
        open_until = tonumber(v[3] or 0), expires = tonumber(v[4] or 0), width = tonumber(v[5]),
      } or false
      campaigns[name] = c
    end
    return c
  end

  -- What becomes of a message of it that is about to go out; nil if it may. One that has finished has those that an
  -- operator lets go.
  function b.stop_of(c)
    if c.state == "finished" then return nil end
    if c.state == "cancelled" then return "cancelled" end
    if c.state == "expired" or c.expires > 0 and c.expires <= now then return "expired" end
    if c.state ~= "running" or c.open_until > 0 and c.open_until <= now then return "held" end
    return nil
  end

  -- The campaign that counts this message as its own, and the recipient's digest. Not one of another campaign under the
  -- same name, nor one that was restored when the store had lost the campaign.
  function b.member_of(id)
    local name, digest = b.parts_of(id)
    local c = b.named(name)
    if c and call("HGET", message(id), "m") == c.created then return c, digest end
  end

  -- Where a recipient is in the index of its campaign: key and field.
  function b.place_of(c, digest)
    return c.key .. ":i:" .. string.sub(digest, 1, c.width), string.sub(digest, c.width + 1)
  end

  -- How a recipient has ended and the reply that was kept; or nothing, but whether it waits.
  function b.final_of(c, digest)
    local value = call("HGET", b.place_of(c, digest))
    if not value or value == "w" then return nil, value == "w" end
    return letters[string.sub(value, 1, 1)], string.sub(value, 2)
  end

  -- How a campaign's message has ended whose own record is gone: its state, the reply that was kept, the campaign.
  function b.ended(id)
    local name, digest = b.parts_of(id)
    local c = name and b.named(name)
    if not c then return nil end
    local state, reply = b.final_of(c, digest)
    return state == "suppressed" and "cancelled" or state, reply, c
  end

  -- Count messages of a campaign in a state; written once, at the end of the call.
  function b.tally(c, state, number)
    tallies[c.key] = tallies[c.key] or {}
    add(tallies[c.key], state, number)
  end

  function b.write_tallies()
    for key, states in pairs(tallies) do
      for state, number in pairs(states) do
        if number ~= 0 then call("HINCRBY", key, "n:" .. state, number) end
      end
    end
  end

  -- Write how a recipient has ended, if this is an end: a state, or suppressed. Whether it is.
  function b.conclude(c, digest, state, reply)
    if not letters[state] then return false end
    if #reply > KEPT_OCTETS then
      local last = KEPT_OCTETS - 3
      while last > 0 and string.find(reply, "^[\128-\191]", last + 1) do last = last - 1 end -- not inside a character
      reply = string.sub(reply, 1, last) .. "…"
    end
    local key, field = b.place_of(c, digest)
    call("HSET", key, field, letters[state] .. reply)
    return true
  end

  -- Count a message that was refused for now, and waits for its next attempt: its turn has been.
  function b.tally_retried(c, state, attempts, number)
    if state == "deferred" and attempts > 0 then b.tally(c, "retried", number) end
  end

  -- A message of a campaign moves to a state: it is counted there, and how it has ended is kept.
  function b.moved(m, new, reason, attempts)
    local state = new
    if new == "cancelled" and string.sub(reason, 1, #SUPPRESSED) == SUPPRESSED then state = "suppressed" end
    b.tally(m.campaign, m.state, -1)
    b.tally(m.campaign, state, 1)
    b.tally_retried(m.campaign, m.state, m.attempts, -1)
    b.tally_retried(m.campaign, new, attempts, 1)
    if m.state == "held" then leave(m.campaign.parked, m.id) end
    b.conclude(m.campaign, m.digest, state, reason)
  end

  -- Where its campaign does not let a message go out now, it goes to where it belongs. Returns that state, or nothing.
  function b.stop(m, move, expire)
    local c = m.campaign
    local state = c and b.stop_of(c)
    if not state then return nil end
    if state == "expired" then
      expire(m)
    elseif state == "cancelled" then
      move(m, state, now, {w = REASON_CAMPAIGN_CANCELLED}, m.state == "sending" and {"deferred"} or {})
    else
      move(m, state, now, {w = REASON_PARKED, p = m.state == "sending" and "claimed" or nil})
      enter(c.parked, m.id, now)
    end
    return state
  end

  made, at_finish = b, b.write_tallies
  return b
end
