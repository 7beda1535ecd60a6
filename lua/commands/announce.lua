-- announce: put something that moves no stock into the journal, in sequence with everything that does.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, event_type, data, actor
-- Statuses  malformed, key_reused, replayed, ok
-- Answers   replayed: (id, seq, epoch); ok: (id, seq)
-- Writes    the record, event `announce`
-- Cost      O(1)
--- @include "lib/state"
--- @include "lib/journal"
--- @include "lib/records"
--- @include "lib/results"

local function announce(command)
  local base, event_type, data, actor = command[2], command[3], command[4], command[5]
  if raw_records[base] == nil or type(event_type) ~= "string" or event_type == "" or type(data) ~= "string"
    or type(actor) ~= "string" then
    return answer(MALFORMED)
  end
  local raw = raw_records[base]
  if raw then
    local record = unpack_all(raw)
    if record[1] ~= "ANNOUNCED" then
      return answer(KEY_REUSED)
    end
    return answer(pack({ "replayed", base .. format("%012x", record[2]), record[3], record[4] }))
  end
  local id, own_seq = base .. now_hex, first_seq + events
  write_record(base, ARRAY_4 .. pack("ANNOUNCED", now, own_seq, epoch), format("%d", WINDOW_MS))
  grows = true
  emit(ARRAY_5, "announce", id, event_type, data, actor)
  answer(pack({ "ok", id, own_seq }))
end
