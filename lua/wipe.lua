-- wipe: remove some keys of a fenced partition.
--
-- KEYS      1 meta (hash), then the keys to remove, any type
-- ARGV      1 token of the fence
-- Answers   1; 0 with nothing done when the fence is another's by now, or gone
-- Cost      O(keys); memory is given back in the background

local call = redis.call

-- A rebuild that was stopped for a while must not go on beside the one that took over from it.
if call("HGET", KEYS[1], "fence") ~= ARGV[1] then
  return 0
end
call("HDEL", KEYS[1], "was")
for position = 2, #KEYS do
  call("UNLINK", KEYS[position])
end
return 1
