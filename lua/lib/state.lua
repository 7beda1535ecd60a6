-- The picture a batch decides against, and the changes it has decided so far. Nothing here touches Redis.
--
-- A batch reads everything first (lib/load.lua), decides command by command against these tables, and writes at the
-- very end (lib/store.lua). So a command sees what the commands before it decided, and an error before the first
-- write leaves Redis as it was.

local call = redis.call
local pack, unpack_all = cmsgpack.pack, cmsgpack.unpack
local match, gmatch, find, sub, format = string.match, string.gmatch, string.find, string.sub, string.format
local concat = table.concat
local floor = math.floor

local MAX_QUANTITY = 1000000000
local MAX_ON_HAND = 1000000000000
local MAX_LINES = 2000
local MAX_SKU = 64
local MIN_TTL_MS, MAX_TTL_MS = 1000, 86400000
local MAX_CONFIRM_RESERVATIONS = 1000

local STOCK, DEADLINES, JOURNAL, META = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local RECORD_PREFIX = ARGV[3]

-- Server clock of the batch, Unix ms; never before any earlier batch's (set by lib/clock.lua).
local now
-- The same as the last 12 hex digits of every id made in this batch.
local now_hex
-- What `meta` says, and the number of this batch's first event (set by lib/load.lua).
local epoch, seq, first_seq

-- SKU -> {on_hand, reserved, safety_stock, low_stock_threshold, active ("1"/"0")}, or false when there is no such SKU.
local stock = {}
-- SKU -> its entry of `stock`, when its counters changed.
local stock_changed = {}

-- Base -> packed record, false when there is none; nil when the base was not declared.
local raw_records = {}
-- Base -> decoded record, filled on first look.
local records = {}

-- What will be written. Arrays, not maps by name: growing a map costs the hot path more than writing a key twice.
-- Three a record: base, packed record, TTL in ms as text. A later write of a base wins.
local record_writes, record_write_count = {}, 0

-- Two a deadline: its ms as text, the member.
local deadline_additions, deadline_addition_count = {}, 0
-- Members to remove; true for those that are not added again.
local deadline_removals, is_removed = {}, {}

-- Packed events, header and body as separate strings.
local events, event_parts = 0, {}

-- True once a command has succeeded that needs memory: it must not run when Redis is out of it.
local grows = false

local function write_record(base, raw, ttl_text)
  raw_records[base] = raw
  if records[base] == false then
    records[base] = nil
  end
  local n = record_write_count
  record_writes[n + 1], record_writes[n + 2], record_writes[n + 3] = base, raw, ttl_text
  record_write_count = n + 3
end

local function add_deadline(member, deadline_text)
  local n = deadline_addition_count
  deadline_additions[n + 1], deadline_additions[n + 2] = deadline_text, member
  deadline_addition_count = n + 2
end

-- Removals are written before additions, so a member that this batch added must leave its list.
local function remove_deadline(member)
  deadline_removals[#deadline_removals + 1] = member
  is_removed[member] = true
  for i = deadline_addition_count, 2, -2 do
    if deadline_additions[i] == member then
      local last = deadline_addition_count
      deadline_additions[i - 1], deadline_additions[i] = deadline_additions[last - 1], deadline_additions[last]
      deadline_additions[last - 1], deadline_additions[last] = nil, nil
      deadline_addition_count = last - 2
      return
    end
  end
end
