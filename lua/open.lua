-- open: make the `meta` of a partition that is entirely empty, in one step, and tell what `meta` says.
--
-- KEYS      1 stock (hash), 2 deadlines (zset), 3 journal (stream), 4 meta (hash)
-- ARGV      1 epoch, 2 schema, 3 partitions
-- Answers   [epoch, seq, schema, partitions], each false when there is none
-- Cost      O(1)

local call = redis.call

-- Part of a partition without its `meta` is a loss, not a fresh start: then nothing is made.
if call("EXISTS", KEYS[1], KEYS[2], KEYS[3], KEYS[4]) == 0 then
  call("HSET", KEYS[4], "epoch", ARGV[1], "seq", "0", "last_now_ms", "0", "schema", ARGV[2], "partitions", ARGV[3])
end
return call("HMGET", KEYS[4], "epoch", "seq", "schema", "partitions")
