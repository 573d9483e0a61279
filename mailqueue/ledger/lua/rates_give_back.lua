-- needs: common rates
-- Permits that were not used. ARGV: relay, then for each domain its name and how many.

local relay = ARGV[FIRST]

local function give_back(domain, number)
  local known = call("GET", pace_key(relay, domain))
  if known then
    local debt, at = string.match(known, "^(%S+) (%d+)$")
    local left = string.format("%.17g", math.max(0, tonumber(debt) - number))
    call("SET", pace_key(relay, domain), left .. " " .. at, "KEEPTTL")
  end
  local key, fields, counts, lengths = account_key(relay, domain), {}, {}, {}
  local v = call("HGETALL", key)
  for place = 1, #v, 2 do
    local length, slot = string.match(v[place], "^(%d+):(%w+)$")
    if slot == "n" then
      lengths[length] = tonumber(v[place + 1])
    elseif slot ~= "slot" then
      counts[#counts + 1] = {length = length, slot = tonumber(slot), field = v[place], n = tonumber(v[place + 1])}
    end
  end
  -- The last ones are the likeliest to be those that were not used.
  table.sort(counts, function(one, other) return one.slot > other.slot end)
  for length, n in pairs(lengths) do
    local left = number
    for _, count in ipairs(counts) do
      if count.length == length and left > 0 then
        local less = math.min(left, count.n)
        left, n = left - less, n - less
        fields[#fields + 1], fields[#fields + 2] = count.field, string.format("%d", count.n - less)
      end
    end
    fields[#fields + 1], fields[#fields + 2] = length .. ":n", string.format("%d", n)
  end
  if #fields > 0 then call("HSET", key, unpack(fields)) end
end

even_when_full()
for place = FIRST + 1, #ARGV, 2 do
  local domain, number = ARGV[place], tonumber(ARGV[place + 1])
  give_back("", number)
  give_back(domain, number)
end
