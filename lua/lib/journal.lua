-- Events of the batch. The n-th one gets sequence number first_seq + n - 1; lib/store.lua appends them as one entry.
--- @include "lib/state"

-- header: msgpack array header for the number of fields, verb included; the fields follow.
local function emit(header, ...)
  events = events + 1
  event_parts[2 * events - 1] = header
  event_parts[2 * events] = pack(...)
end

-- msgpack header of a text of n bytes. The hot path joins text itself: cmsgpack makes and interns a string an argument.
local text_headers = {}
local function text_header(n)
  local header
  if n < 32 then
    header = string.char(160 + n)
  elseif n < 256 then
    header = "\217" .. string.char(n)
  else
    header = "\219" .. struct.pack(">I4", n)
  end
  text_headers[n] = header
  return header
end

local ARRAY_3, ARRAY_4, ARRAY_5, ARRAY_6, ARRAY_7, ARRAY_8, ARRAY_10 =
  "\147", "\148", "\149", "\150", "\151", "\152", "\154"
