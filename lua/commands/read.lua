-- read: look at one reservation. A hold found past its deadline is ended first, so that every view agrees.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, created_ms, owner
-- Statuses  malformed, unknown_reservation, inconsistent, ok
-- Answers   ok: the record
-- Writes    nothing, or what expire writes
-- Cost      O(1)
--- @include "lib/records"
--- @include "lib/holds"
--- @include "lib/results"

local function read(command)
  local base, created, owner = command[2], command[3], command[4]
  if type(base) ~= "string" or type(owner) ~= "string" then
    return answer(MALFORMED)
  end
  local record, damaged = find_reservation(base, created, owner)
  if damaged then
    return answer(INCONSISTENT)
  elseif not record then
    return answer(UNKNOWN_RESERVATION)
  end
  answer_record("ok", packed(record))
end
