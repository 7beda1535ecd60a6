-- Ending holds and finding them: what confirm, release, amend, read and expire share.
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"

-- True when every line's units are in reserved. False means the counters were damaged from outside: then the command
-- must change nothing, rather than make a number negative.
local function covers(skus, quantities)
  for i = 1, #skus do
    local level = stock[skus[i]]
    if not level or level[2] < quantities[i] then
      return false
    end
  end
  return true
end

local function give_back(skus, quantities)
  for i = 1, #skus do
    local sku = skus[i]
    local level = stock[sku]
    level[2] = level[2] - quantities[i]
    stock_changed[sku] = level
  end
end

-- End an ACTIVE record: status, time, deadline entry and record. The counters and the event are the caller's.
local function end_record(base, record, status)
  remove_deadline(member_of(base, record))
  record[STATUS] = status
  record[UPDATED] = now
  put_record(base, record)
end

-- Expire an ACTIVE record whose deadline has come. Returns false when the counters do not cover it.
local function expire_record(base, record)
  local skus, quantities = parse_lines(record[LINES])
  if not covers(skus, quantities) then
    return false
  end
  give_back(skus, quantities)
  end_record(base, record, "EXPIRED")
  emit(ARRAY_3, "expire", base .. format("%012x", record[CREATED]), event_lines(skus, quantities))
  return true
end

-- The reservation under (base, created) if `owner` may see it, with its deadline already applied: a hold is EXPIRED
-- from the very millisecond of its deadline, whether or not anybody has swept it.
local function find_reservation(base, created, owner)
  local record = record_of(base)
  if not record or record[CREATED] ~= created or #record ~= 10 then
    return nil
  end
  if owner ~= "" and record[OWNER] ~= owner then
    return nil
  end
  if record[STATUS] == "ACTIVE" and now >= record[DEADLINE] and not expire_record(base, record) then
    return nil, "inconsistent"
  end
  return record
end
