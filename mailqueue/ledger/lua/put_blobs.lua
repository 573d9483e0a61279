-- needs: common
-- Store large parts under their hashes, with a time to live unless a message uses them already.
-- ARGV: hash and content of each.

for place = FIRST, #ARGV, 2 do
  local hash = ARGV[place]
  if call("EXISTS", users(hash)) == 1 then
    call("SET", blob(hash), ARGV[place + 1])
  else
    call("SET", blob(hash), ARGV[place + 1], "EX", BLOB_TTL)
  end
end
