-- Records of reservations: an array of ten (engine/results.py Record), msgpack, one Redis string with a TTL each.
--- @include "lib/state"
--- @include "lib/journal"

local STATUS, CREATED, DEADLINE, UPDATED, OWNER, FINGERPRINT, LINES, FIRST_LINES, ORDER =
  1, 2, 3, 4, 5, 6, 7, 8, 9

local RETENTION_MS, WINDOW_MS = tonumber(ARGV[4]), tonumber(ARGV[5])

-- The decoded record under a declared base; false or nil when there is none. A keyed adjustment's record is not a
-- reservation's.
local function record_of(base)
  local record = records[base]
  if record == nil then
    local raw = raw_records[base]
    record = raw and unpack_all(raw)
    records[base] = record
  end
  return record
end

local function packed(record)
  return ARRAY_10 .. pack(record[1], record[2], record[3], record[4], record[5], record[6], record[7], record[8],
    record[9], record[10])
end

-- How long a record must live from now. An ACTIVE one outlives its deadline by the retention, an ended one its end;
-- a keyed one also its idempotency window, counted from its creation.
local function ttl_of(status, created, deadline, keyed)
  local ttl = RETENTION_MS
  if status == "ACTIVE" then
    ttl = deadline - now + RETENTION_MS
  end
  return keyed and math.max(ttl, created + WINDOW_MS - now) or ttl
end

local function put_record(base, record)
  local ttl = ttl_of(record[STATUS], record[CREATED], record[DEADLINE], record[FINGERPRINT] ~= "")
  write_record(base, packed(record), format("%d", ttl))
end

local function member_of(base, record)
  return base .. format("%012x", record[CREATED]) .. " " .. record[LINES]
end
