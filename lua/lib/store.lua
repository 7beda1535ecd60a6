-- Writing: everything the batch decided. Nothing is checked here any more, so nothing here may fail for its content.
--- @include "lib/state"
--- @include "lib/journal"

local WRITE_CHUNK = 4000

local function in_chunks(verb, key, args)
  for from = 1, #args, WRITE_CHUNK do
    call(verb, key, unpack(args, from, math.min(from + WRITE_CHUNK - 1, #args)))
  end
end

local function write_meta()
  call("HSET", META, "seq", format("%d", seq), "last_now_ms", format("%d", now))
end

-- Out of memory, Redis refuses a script's first write if that write may grow, and allows everything after the first.
-- So a batch that grows starts with HSET (refused whole, nothing written) and one that only ends holds with ZREM.
local function store_batch()
  if events == 0 then
    return
  end
  seq = seq + events
  if grows then
    write_meta()
  end

  in_chunks("ZREM", DEADLINES, deadline_removals)
  in_chunks("ZADD", DEADLINES, deadline_additions)

  local levels = {}
  for sku, level in pairs(stock_changed) do
    levels[#levels + 1] = sku
    levels[#levels + 1] = format("%d %d %d %s %s", level[1], level[2], level[3], level[4], level[5])
  end
  in_chunks("HSET", STOCK, levels)

  for i = 1, record_write_count, 3 do
    call("SET", RECORD_PREFIX .. record_writes[i], record_writes[i + 1], "PX", record_writes[i + 2])
  end
  if not grows then
    write_meta()
  end
  call("XADD", JOURNAL, "*", "b",
    ARRAY_5 .. pack(1, epoch, first_seq, now) .. "\221" .. struct.pack(">I4", events) .. concat(event_parts))
end
