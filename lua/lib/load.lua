-- Reading: everything a batch can need, in a handful of calls, before the first decision.
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"

local CHUNK = 2000

-- Command position -> its lines, parsed once; nil when they do not parse or the verb has none.
local command_skus, command_quantities = {}, {}
-- The same for a reserve of one line, which is most of a flash sale: no tables are made for it.
local single_sku, single_quantity = {}, {}

local wanted, wanted_count = {}, 0

local function want(sku)
  if stock[sku] == nil then
    stock[sku] = false
    wanted_count = wanted_count + 1
    wanted[wanted_count] = sku
  end
end

local function want_all(skus)
  for i = 1, #skus do
    want(skus[i])
  end
end

local function want_record(base)
  local record = type(base) == "string" and record_of(base)
  if record and #record == 10 then
    want_all(parse_lines(record[LINES]) or {})
  end
end

-- Verb -> what its command at `position` will look at. Only types that would break the reading are checked here; the
-- verb itself refuses everything that is malformed.
local wants = {}

local function wants_lines(position, text)
  if type(text) ~= "string" then
    return
  end
  local skus, quantities = parse_lines(text)
  if skus then
    command_skus[position], command_quantities[position] = skus, quantities
    want_all(skus)
  end
end

function wants.reserve(command, position)
  local text = command[3]
  if type(text) ~= "string" then
    return
  end
  local sku, digits = match(text, "^([^=,]+)=([1-9]%d*)$")
  local quantity = sku and quantity_of(digits)
  if quantity then
    single_sku[position], single_quantity[position] = sku, quantity
    if stock[sku] == nil then
      want(sku)
    end
  else
    wants_lines(position, text)
  end
end

function wants.amend(command, position)
  want_record(command[2])
  wants_lines(position, command[4])
end

function wants.confirm(command)
  if type(command[2]) == "table" then
    for _, reservation in ipairs(command[2]) do
      want_record(type(reservation) == "table" and reservation[1])
    end
  end
end

function wants.release(command)
  want_record(command[2])
end

wants.read = wants.release

function wants.expire(command, position)
  want_record(command[2])
  if type(command[3]) == "string" then
    wants_lines(position, sub(command[3], 38))
  end
end

function wants.availability(command, position)
  wants_lines(position, command[2])
end

function wants.adjust(command)
  if type(command[3]) == "table" then
    for _, line in ipairs(command[3]) do
      if type(line) == "table" and type(line[1]) == "string" then
        want(line[1])
      end
    end
  end
end

wants.repair = wants.adjust

function wants.configure(command)
  if type(command[2]) == "string" then
    want(command[2])
  end
end

local function load_meta(expected_epoch)
  local meta = call("HMGET", META, "epoch", "seq", "last_now_ms", "schema")
  if meta[1] ~= expected_epoch or meta[4] ~= "1" then
    return false
  end
  epoch, seq = tonumber(meta[1]), tonumber(meta[2])
  first_seq = seq + 1
  return true, tonumber(meta[3])
end

local function load_records()
  local offset = #RECORD_PREFIX + 1
  for from = 5, #KEYS, CHUNK do
    local to = math.min(from + CHUNK - 1, #KEYS)
    local values = call("MGET", unpack(KEYS, from, to))
    for i = from, to do
      raw_records[sub(KEYS[i], offset)] = values[i - from + 1]
    end
  end
end

local function load_stock()
  for from = 1, wanted_count, CHUNK do
    local to = math.min(from + CHUNK - 1, wanted_count)
    local values = call("HMGET", STOCK, unpack(wanted, from, to))
    for i = from, to do
      local value = values[i - from + 1]
      if value then
        local on_hand, reserved, safety, threshold, active = match(value, "^(%d+) (%d+) (%d+) (%d+) ([01])$")
        stock[wanted[i]] = { on_hand + 0, reserved + 0, safety + 0, threshold, active }
      end
    end
  end
end

local function load_batch(commands)
  load_records()
  for position = 1, #commands do
    local command = commands[position]
    local look = type(command) == "table" and wants[command[1]]
    if look then
      look(command, position)
    end
  end
  -- Wrong types must show here, before anything is written: ZADD and XADD would fail after the first writes.
  call("ZCARD", DEADLINES)
  call("XLEN", JOURNAL)
  load_stock()
end
