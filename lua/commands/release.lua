-- release: give a hold back before its deadline.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, created_ms, owner, actor
-- Statuses  malformed, unknown_reservation, inconsistent, expired, not_active, replayed, ok
-- Answers   expired, not_active, replayed, ok: the record
-- Writes    reserved of each SKU, the record, the deadline, event `release`
-- Cost      O(lines), and O(log holds) for the deadline
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"
--- @include "lib/holds"
--- @include "lib/results"

local STATUS_WHEN_ENDED = { EXPIRED = "expired", COMPLETED = "not_active", CANCELLED = "replayed" }

local function release(command)
  local base, created, owner, actor = command[2], command[3], command[4], command[5]
  if type(base) ~= "string" or type(owner) ~= "string" or type(actor) ~= "string" then
    return answer(MALFORMED)
  end
  local record, damaged = find_reservation(base, created, owner)
  if damaged then
    return answer(INCONSISTENT)
  elseif not record then
    return answer(UNKNOWN_RESERVATION)
  elseif record[STATUS] ~= "ACTIVE" then
    return answer_record(STATUS_WHEN_ENDED[record[STATUS]], packed(record))
  end
  local skus, quantities = parse_lines(record[LINES])
  if not covers(skus, quantities) then
    return answer(INCONSISTENT)
  end
  give_back(skus, quantities)
  end_record(base, record, "CANCELLED")
  emit(ARRAY_4, "release", base .. format("%012x", created), event_lines(skus, quantities), actor)
  answer_record("ok", packed(record))
end
