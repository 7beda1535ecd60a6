-- fence: from here on every command of every process is refused, until lua/reopen.lua is called with the same token.
--
-- KEYS      1 meta (hash)
-- ARGV      1 token of whoever is at work; a later one takes over from an earlier one
-- Answers   the epoch that was fenced, kept in `was` until something is wiped; false when that is not known
-- Cost      O(1)

local call = redis.call

local epoch = call("HGET", KEYS[1], "epoch")
if epoch and epoch ~= "0" then
  call("HSET", KEYS[1], "was", epoch)
end
call("HSET", KEYS[1], "epoch", "0", "fence", ARGV[1])
return call("HGET", KEYS[1], "was")
