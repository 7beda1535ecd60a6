-- reopen: end the fence; commands of the new epoch are served from here on.
--
-- KEYS      1 meta (hash)
-- ARGV      1 token of the fence, 2 epoch, 3 sequence number of the last event, 4 time in ms that the clock must not
--           fall behind, 5 schema, 6 partitions
-- Answers   1; 0 with nothing done when the fence is another's by now, or gone
-- Cost      O(1)

local call = redis.call

if call("HGET", KEYS[1], "fence") ~= ARGV[1] then
  return 0
end
call("HSET", KEYS[1], "epoch", ARGV[2], "seq", ARGV[3], "last_now_ms", ARGV[4], "schema", ARGV[5],
  "partitions", ARGV[6])
call("HDEL", KEYS[1], "fence", "was")
return 1
