-- needs: common campaign moves campaigns
-- All that is known of a campaign. ARGV: name. Reply: {its entry, its spec}, or nothing.

local key = key_of(ARGV[FIRST])
local spec = call("HGET", key, "spec")
if not spec then return false end
return {entry_of(key, ARGV[FIRST]), spec}
