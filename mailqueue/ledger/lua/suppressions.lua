-- The suppression list: a hash of keys for each list, listed in a set. A list without entries has neither.

local SUPPRESSED = PREFIX .. "suppressed"

local function suppressed_key(list) return SUPPRESSED .. ":" .. list end
