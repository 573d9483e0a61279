-- needs: common
-- Nothing of a campaign begins from this moment on. ARGV: name, moment (0: no limit). Reply: 1, or 0 if there is none.

local key = PREFIX .. "c:" .. ARGV[FIRST]
even_when_full()
if call("EXISTS", key) == 0 then return 0 end
call("HSET", key, "open_until", ARGV[FIRST + 1])
return 1
