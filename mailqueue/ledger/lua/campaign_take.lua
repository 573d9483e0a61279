-- needs: common campaign
-- The next chunk of a queue, under a lease for this owner, if the campaign runs and is open.
-- ARGV: name, owner, queue. Reply: {number, content}, or nothing.

local name, owner, queue = ARGV[FIRST], ARGV[FIRST + 1], ARGV[FIRST + 2]

even_when_full()
local c = bulk().named(name)
if not c or c.state ~= "running" or bulk().stop_of(c) then return false end
local ends, holder = string.match(call("HGET", c.key, "feed:" .. queue) or "", "^(%d+) (.*)$")
ends = tonumber(ends or 0)
-- A lease that ends later than one from now was given before the clock was set back. One of nobody is a rest.
local longest = holder == "" and REST_MAX or LEASE
if holder and holder ~= owner and now < ends and ends <= now + longest then return false end
local number = call("LINDEX", c.key .. ":q:" .. queue, 0)
if not number then return false end
call("HSET", c.key, "feed:" .. queue, string.format("%.0f ", now + LEASE) .. owner)
return {tonumber(number), call("GET", c.key .. ":k:" .. number) or ""}
