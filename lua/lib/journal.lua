-- Events of the batch. The n-th one gets sequence number first_seq + n - 1; lib/store.lua appends them as one entry.
--- @include "lib/state"

-- header: msgpack array header for the number of fields, verb included; the fields follow.
local function emit(header, ...)
  events = events + 1
  event_parts[2 * events - 1] = header
  event_parts[2 * events] = pack(...)
end

local ARRAY_3, ARRAY_4, ARRAY_5, ARRAY_6, ARRAY_7, ARRAY_8, ARRAY_10 =
  "\147", "\148", "\149", "\150", "\151", "\152", "\154"
