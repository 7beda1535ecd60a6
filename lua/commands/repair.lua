-- repair: move counters that were changed from outside back by what reconciliation found. A drift stays the same
-- whatever happens meanwhile, so differences are taken, not values.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, lines [[SKU, change of on_hand, change of reserved], ...], reason, reference_id, actor,
--           epoch in which the drift was found (0: any)
-- Statuses  malformed, key_reused, inconsistent, replayed, unknown_sku, stock_moved, ok
-- Answers   replayed, ok: (id, seq, lines as "SKU=change=on_hand=reserved"), replayed with the epoch as well;
--           unknown_sku, stock_moved: the SKUs
-- Writes    on_hand and reserved of each SKU, the record, event `adjust` with reference_type Reconciliation
-- Cost      O(lines)
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/journal"
--- @include "lib/records"
--- @include "lib/results"

local function is_repair(command)
  local lines = command[3]
  if raw_records[command[2]] == nil or type(lines) ~= "table" or #lines < 1 or #lines > MAX_LINES then
    return false
  end
  for i = 4, 6 do
    if type(command[i]) ~= "string" then
      return false
    end
  end
  local seen = {}
  for _, line in ipairs(lines) do
    if type(line) ~= "table" or type(line[1]) ~= "string" or seen[line[1]]
      or not is_whole(line[2], -MAX_ON_HAND, MAX_ON_HAND) or not is_whole(line[3], -MAX_ON_HAND, MAX_ON_HAND) then
      return false
    end
    seen[line[1]] = true
  end
  return is_whole(command[7], 0, LARGEST_EXACT)
end

-- SKUs that are not in the catalogue, or nil; and true when a repaired counter would break 0 <= reserved <= on_hand.
local function obstacles(lines)
  local unknown, broken
  for i = 1, #lines do
    local sku, on_hand_change, reserved_change = lines[i][1], lines[i][2], lines[i][3]
    local level = stock[sku]
    if not level then
      unknown = unknown or {}
      unknown[#unknown + 1] = sku
    else
      local on_hand, reserved = level[1] + on_hand_change, level[2] + reserved_change
      broken = broken or reserved < 0 or reserved > on_hand or on_hand > MAX_ON_HAND
    end
  end
  return unknown, broken
end

local function repair(command)
  if not is_repair(command) then
    return answer(MALFORMED)
  end
  local base, lines = command[2], command[3]
  local raw = raw_records[base]
  if raw then
    local record = unpack_all(raw)
    if record[1] ~= "REPAIRED" then
      return answer(KEY_REUSED)
    end
    return answer(pack({ "replayed", base .. format("%012x", record[2]), record[3], record[4], record[5] }))
  end
  local unknown, broken = obstacles(lines)
  if broken then
    return answer(INCONSISTENT)
  elseif unknown then
    return answer(pack({ "unknown_sku", unknown }))
  end
  local skus, changes = {}, {}
  for i = 1, #lines do
    skus[i], changes[i] = lines[i][1], lines[i][2]
  end
  if command[7] ~= 0 and command[7] ~= epoch then
    -- What was missing in one life of the state is there in the next: a rebuild has put it right.
    return answer(pack({ "stock_moved", skus }))
  end
  for i = 1, #lines do
    local sku = lines[i][1]
    local level = stock[sku]
    level[1], level[2] = level[1] + lines[i][2], level[2] + lines[i][3]
    stock_changed[sku] = level
  end
  local id, text, own_seq = base .. now_hex, event_lines(skus, changes), first_seq + events
  write_record(base, ARRAY_5 .. pack("REPAIRED", now, own_seq, text, epoch), format("%d", WINDOW_MS))
  grows = true
  emit(ARRAY_8, "adjust", id, text, "ADJUSTMENT", command[4], "Reconciliation", command[5], command[6])
  answer(pack({ "ok", id, own_seq, text }))
end
