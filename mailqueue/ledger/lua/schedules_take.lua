-- needs: common schedules
-- The schedule that `owner` is to start, under a lease. Reply: {name, spec, due (s), now, owner}, or nothing.
-- ARGV: owner, then names of those that it does not want.

local owner = ARGV[FIRST]

local due = call("ZRANGEBYSCORE", SCHEDULES, "-inf", math.floor(now / 1000))
if #due == 0 then return {} end

local unwanted = {}
for place = FIRST + 1, #ARGV do unwanted[ARGV[place]] = true end

local taken
for _, name in ipairs(due) do
  local found, lease = load_schedule(name)
  -- A lease that ends later than one from now was given before the clock was set back.
  local free = lease <= now or lease > now + LEASE
  if unwanted[name] then
    -- It has just failed here.
  elseif found[5] == owner then
    taken = found
    break
  elseif free and not taken then
    taken = found
  end
end
if not taken then return {} end
call("HSET", schedule_key(taken[1]), "owner", owner, "until", now + LEASE)
taken[5] = owner
return taken
