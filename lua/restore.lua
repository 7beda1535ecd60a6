-- restore: put a chunk of what the ledger knows into a fenced partition.
--
-- KEYS      1 stock (hash), 2 deadlines (zset), 3 meta (hash), then one record (string) each
-- ARGV      1 token of the fence, 2 msgpack [SKU, counters, ...], 3 msgpack [deadline in ms as text, member, ...],
--           4 msgpack [packed record, TTL in ms as text, ...], in the order of the keys
-- Answers   1; 0 with nothing done when the fence is another's by now, or gone
-- Cost      O(chunk); the caller keeps each list under 4,000 items

local call = redis.call
local unpack_all = cmsgpack.unpack

if call("HGET", KEYS[3], "fence") ~= ARGV[1] then
  return 0
end
local levels, deadlines, records = unpack_all(ARGV[2]), unpack_all(ARGV[3]), unpack_all(ARGV[4])
if #levels > 0 then
  call("HSET", KEYS[1], unpack(levels))
end
if #deadlines > 0 then
  call("ZADD", KEYS[2], unpack(deadlines))
end
for position = 4, #KEYS do
  local at = 2 * (position - 3)
  call("SET", KEYS[position], records[at - 1], "PX", records[at])
end
return 1
