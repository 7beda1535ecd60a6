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
local now = 0
-- The same as the last 12 hex digits of every id made in this batch.
local now_hex = ""
local epoch, seq, first_seq = 0, 0, 1

-- SKU -> {on_hand, reserved, safety_stock, low_stock_threshold, active ("1"/"0")}, or false when there is no such SKU.
local stock = {}
-- SKU -> true when its counters changed.
local stock_changed = {}

-- Base -> packed record, false when there is none; nil when the base was not declared.
local raw_records = {}
-- Base -> decoded record, filled on first look.
local records = {}
-- Base -> packed record to write, and base -> its TTL in ms.
local record_writes, record_ttls = {}, {}

-- Member -> deadline in ms to set, or false to remove.
local deadline_changes = {}

-- Packed events, header and body as separate strings.
local events, event_parts = 0, {}

-- True once a command has succeeded that needs memory: it must not run when Redis is out of it.
local grows = false
