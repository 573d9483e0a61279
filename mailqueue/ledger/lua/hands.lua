-- What the operators' calls have in common: they come with ids, and answer a word for each.

-- A message by its id, or by one that a spool gave it before it was found to repeat another.
local function find(id)
  local m = load(id)
  if m then return m end
  local first = call("GET", alias(id))
  return first and load(first) or nil
end

-- Call `act` with each message named from `place` on; the words that it answers. `over` is the word for a campaign's
-- message that has ended, its record gone; unless it is `already` in the state that it was to have.
local function for_each(place, act, over, already)
  even_when_full()
  local words = {}
  for at = place, #ARGV do
    local m = find(ARGV[at])
    local state = not m and bulk().ended(ARGV[at])
    words[#words + 1] = m and act(m) or state and (state == already and already or over) or "missing"
  end
  finish()
  return words
end

-- Nothing can be stopped while the last byte may be going out; nor is it known where it went if the answer was lost.
local function may_be_out(m) return m.state == "unknown" or m.state == "sending" and m.phase == "begun" end
