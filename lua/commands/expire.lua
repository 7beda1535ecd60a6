-- expire: end a hold whose deadline has come and give its units back, also when its record has aged out.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, member (of the deadline set: "<id> <lines>")
-- Statuses  malformed, unknown_reservation, inconsistent, not_active, not_due, ok
-- Answers   nothing
-- Writes    reserved of each SKU, the record if there still is one, the deadline, event `expire`
-- Cost      O(lines), and O(log holds) for the deadline
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"
--- @include "lib/holds"
--- @include "lib/results"
--- @include "lib/load"

-- The record is gone (nobody swept for longer than the retention) or belongs to a later use of the same key: the
-- deadline set is then the only witness, and it carries the lines.
local function expire_member(member, skus, quantities)
  if is_removed[member] then
    return UNKNOWN_RESERVATION
  end
  local deadline = call("ZSCORE", DEADLINES, member)
  if not deadline then
    return UNKNOWN_RESERVATION
  elseif tonumber(deadline) > now then
    return NOT_DUE
  elseif not covers(skus, quantities) then
    return INCONSISTENT
  end
  give_back(skus, quantities)
  remove_deadline(member)
  emit(ARRAY_3, "expire", sub(member, 1, 36), event_lines(skus, quantities))
  return OK
end

local function expire(command, position)
  local base, member = command[2], command[3]
  local skus, quantities = command_skus[position], command_quantities[position]
  if type(member) ~= "string" or sub(member, 1, 24) ~= base or raw_records[base] == nil or not skus
    or not find(member, "^%x+ ") or sub(member, 37, 37) ~= " " then
    return answer(MALFORMED)
  end
  local record = record_of(base)
  if not record or #record ~= 10 or record[CREATED] ~= tonumber(sub(member, 25, 36), 16) then
    return answer(expire_member(member, skus, quantities))
  elseif record[STATUS] ~= "ACTIVE" then
    -- An ended hold takes its deadline along. One that is still there was put back from outside, and must be reported
    -- as damage or it would be due for ever.
    local left_behind = not is_removed[member] and call("ZSCORE", DEADLINES, member)
    return answer(left_behind and INCONSISTENT or NOT_ACTIVE)
  elseif now < record[DEADLINE] then
    return answer(NOT_DUE)
  end
  answer(expire_record(base, record) and OK or INCONSISTENT)
end
