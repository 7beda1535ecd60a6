-- adjust: change on_hand of SKUs, all or none; never below what is reserved.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, lines [[SKU, add|remove|set, units], ...], transaction_type, reason, reference_type, reference_id,
--           actor, fingerprint, max_change, expected
-- Statuses  malformed, key_reused, replayed, unknown_sku, stock_moved, stock_limit, due_holds, insufficient_stock,
--           change_too_large, ok
-- Answers   replayed, ok: (id, seq, lines as "SKU=change=on_hand=reserved"); unknown_sku, stock_moved: the SKUs;
--           insufficient_stock: the shortages (units to take, units free of holds); change_too_large: the units that
--           all lines together would move
-- Writes    on_hand of each SKU, with a fingerprint the record, event `adjust`
-- Cost      O(lines)
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"
--- @include "lib/shortages"

local TRANSACTION_TYPES = { IN = true, OUT = true, ADJUSTMENT = true, RETURN = true, DAMAGE = true }
local LOWEST_UNITS = { add = 1, remove = 1, set = 0 }

local function are_expected(expected, count)
  if type(expected) ~= "table" or #expected ~= 0 and #expected ~= count then
    return false
  end
  for i = 1, #expected do
    if not is_whole(expected[i], -1, MAX_ON_HAND) then
      return false
    end
  end
  return true
end

local function is_adjust(command)
  local lines = command[3]
  if raw_records[command[2]] == nil or type(lines) ~= "table" or #lines < 1 or #lines > MAX_LINES
    or not TRANSACTION_TYPES[command[4]] then
    return false
  end
  for i = 5, 9 do
    if type(command[i]) ~= "string" then
      return false
    end
  end
  local seen = {}
  for _, line in ipairs(lines) do
    if type(line) ~= "table" or type(line[1]) ~= "string" or seen[line[1]] or not LOWEST_UNITS[line[2]]
      or not is_whole(line[3], LOWEST_UNITS[line[2]], line[2] == "set" and MAX_ON_HAND or MAX_QUANTITY) then
      return false
    end
    seen[line[1]] = true
  end
  return is_whole(command[10], 0, LARGEST_EXACT) and are_expected(command[11], #lines)
end

-- SKUs whose on_hand is not what their line expects, or nil.
local function moved_skus(lines, expected)
  local moved
  for i = 1, #expected do
    if expected[i] >= 0 and stock[lines[i][1]][1] ~= expected[i] then
      moved = moved or {}
      moved[#moved + 1] = lines[i][1]
    end
  end
  return moved
end

-- The change of each line, the lines that would take more than is free of holds, whether a SKU would hold too much,
-- and the units moved in all.
local function changes_of(lines)
  local skus, changes, short, over, units_moved = {}, {}, nil, false, 0
  for i = 1, #lines do
    local sku, operation, units = lines[i][1], lines[i][2], lines[i][3]
    local level = stock[sku]
    local change = operation == "add" and units or operation == "remove" and -units or units - level[1]
    local free = level[1] - level[2]
    if change < -free then
      short = short or {}
      short[#short + 1] = { sku, -change, free, next_release(sku) }
    end
    over = over or level[1] + change > MAX_ON_HAND
    units_moved = units_moved + math.abs(change)
    skus[i], changes[i] = sku, change
  end
  return skus, changes, short, over, units_moved
end

local function unknown_skus(lines)
  local unknown
  for i = 1, #lines do
    if not stock[lines[i][1]] then
      unknown = unknown or {}
      unknown[#unknown + 1] = lines[i][1]
    end
  end
  return unknown
end

local function adjust(command)
  if not is_adjust(command) then
    return answer(MALFORMED)
  end
  local base, lines, print = command[2], command[3], command[9]
  local raw = raw_records[base]
  if raw then
    local record = unpack_all(raw)
    -- "*": a rebuild wrote it, from a journal that knows the change but not the request.
    if record[1] ~= "ADJUSTED" or print == "" or (record[3] ~= print and record[3] ~= "*") then
      return answer(KEY_REUSED)
    end
    return answer(pack({ "replayed", base .. format("%012x", record[2]), record[4], record[5], record[6] }))
  end
  local unknown = unknown_skus(lines)
  if unknown then
    return answer(pack({ "unknown_sku", unknown }))
  end
  local moved = moved_skus(lines, command[11])
  if moved then
    return answer(pack({ "stock_moved", moved }))
  end
  local skus, changes, short, over, units_moved = changes_of(lines)
  if over then
    return answer(STOCK_LIMIT)
  elseif short then
    return answer_short(short)
  elseif command[10] > 0 and units_moved > command[10] then
    return answer(pack({ "change_too_large", units_moved }))
  end
  for i = 1, #skus do
    local level = stock[skus[i]]
    level[1] = level[1] + changes[i]
    stock_changed[skus[i]] = level
  end
  local id, text, own_seq = base .. now_hex, event_lines(skus, changes), first_seq + events
  if print ~= "" then
    -- With the epoch: asked again in a later one, the answer must not name an event of that.
    write_record(base, ARRAY_6 .. pack("ADJUSTED", now, print, own_seq, text, epoch), format("%d", WINDOW_MS))
  end
  grows = true
  emit(ARRAY_8, "adjust", id, text, command[4], command[5], command[6], command[7], command[8])
  answer(pack({ "ok", id, own_seq, text }))
end
