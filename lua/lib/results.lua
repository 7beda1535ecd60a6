-- Answers, packed as they are made: each is an array, status first.
--- @include "lib/state"

local results = {}
local answered = 0

local function fixed(status)
  return pack({ status })
end

local OK, MALFORMED, UNKNOWN_RESERVATION, KEY_REUSED, DUE_HOLDS, NOT_DUE, STOCK_LIMIT, INCONSISTENT, NOT_ACTIVE =
  fixed("ok"), fixed("malformed"), fixed("unknown_reservation"), fixed("key_reused"), fixed("due_holds"),
  fixed("not_due"), fixed("stock_limit"), fixed("inconsistent"), fixed("not_active")

local function answer(packed_result)
  answered = answered + 1
  results[answered] = packed_result
end

-- (status, record): the packed record becomes part of the answer as it is.
local function answer_record(status, packed_record)
  answer("\146" .. pack(status) .. packed_record)
end
