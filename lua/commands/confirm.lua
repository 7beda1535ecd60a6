-- confirm: turn holds into a sale; on_hand and reserved go down together. Several reservations: all or none.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string) each
-- Takes     reservations [[base, created_ms], ...], order_id, owner, actor, late
-- Statuses  malformed, unknown_reservation, inconsistent, expired, not_active, due_holds, replayed, ok
-- Answers   of several reservations the first that stands in the way decides; expired, not_active: its record and its
--           place among them (from 1); replayed, ok: every record, in order
-- Writes    on_hand and reserved of each SKU, the records, the deadlines, event `confirm` each
-- Cost      O(lines of all), and O(log holds) for each deadline
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"
--- @include "lib/holds"
--- @include "lib/shortages"

-- Units of each SKU in all of these records together.
local function units_of(records_found)
  local units = {}
  for _, record in ipairs(records_found) do
    local skus, quantities = parse_lines(record[LINES])
    for i = 1, #skus do
      units[skus[i]] = (units[skus[i]] or 0) + quantities[i]
    end
  end
  return units
end

-- Units that expired holds would have to take again, all reservations together; true when they are all there.
local function still_there(expired)
  for sku, quantity in pairs(units_of(expired)) do
    if not stock[sku] or quantity > available(stock[sku]) then
      return false
    end
  end
  return true
end

-- Units that ACTIVE holds sell, all reservations together, must be in both counters.
local function counters_cover(active)
  for sku, quantity in pairs(units_of(active)) do
    local level = stock[sku]
    if not level or level[1] < quantity or level[2] < quantity then
      return false
    end
  end
  return true
end

local function sell(base, record, order_id, actor)
  local late = record[STATUS] == "EXPIRED"
  local skus, quantities = parse_lines(record[LINES])
  for i = 1, #skus do
    local sku, quantity = skus[i], quantities[i]
    local level = stock[sku]
    level[1] = level[1] - quantity
    if not late then
      level[2] = level[2] - quantity
    end
    stock_changed[sku] = level
  end
  record[ORDER] = order_id
  end_record(base, record, "COMPLETED")
  grows = grows or late
  emit(ARRAY_6, "confirm", base .. format("%012x", record[CREATED]), event_lines(skus, quantities), order_id, actor,
    late)
end

-- The status that one reservation's state gives, or nil when it can be confirmed.
local function obstacle(record, order_id, late)
  local status = record[STATUS]
  if status == "EXPIRED" and not late then
    return "expired"
  elseif status == "CANCELLED" then
    return "not_active"
  elseif status == "COMPLETED" and order_id ~= "" and record[ORDER] ~= order_id then
    return "not_active"
  end
  return nil
end

local function answer_obstacle(status, record, place)
  answer("\147" .. pack(status) .. packed(record) .. pack(place))
end

local function is_confirm(command)
  local reservations = command[2]
  if type(reservations) ~= "table" or #reservations < 1 or #reservations > MAX_CONFIRM_RESERVATIONS
    or type(command[3]) ~= "string" or type(command[4]) ~= "string" or type(command[5]) ~= "string" then
    return false
  end
  local seen = {}
  for _, reservation in ipairs(reservations) do
    if type(reservation) ~= "table" or type(reservation[1]) ~= "string" or seen[reservation[1]] then
      return false
    end
    seen[reservation[1]] = true
  end
  return true
end

local function confirm(command)
  if not is_confirm(command) then
    return answer(MALFORMED)
  end
  local reservations, order_id, owner, actor, late = command[2], command[3], command[4], command[5], command[6] == true
  local found, active, expired, first_expired = {}, {}, {}, nil
  for i = 1, #reservations do
    local record, damaged = find_reservation(reservations[i][1], reservations[i][2], owner)
    if damaged then
      return answer(INCONSISTENT)
    elseif not record then
      return answer(UNKNOWN_RESERVATION)
    end
    found[i] = record
  end
  for i = 1, #found do
    local why = obstacle(found[i], order_id, late)
    if why then
      return answer_obstacle(why, found[i], i)
    end
    if found[i][STATUS] == "ACTIVE" then
      active[#active + 1] = found[i]
    elseif found[i][STATUS] == "EXPIRED" then
      expired[#expired + 1] = found[i]
      first_expired = first_expired or i
    end
  end
  if not still_there(expired) then
    if any_due() then
      return answer(DUE_HOLDS)
    end
    return answer_obstacle("expired", expired[1], first_expired)
  end
  if not counters_cover(active) then
    return answer(INCONSISTENT)
  end
  local reply = { "\220" .. struct.pack(">I2", #found + 1) .. pack(#active + #expired > 0 and "ok" or "replayed") }
  for i = 1, #found do
    if found[i][STATUS] ~= "COMPLETED" then
      sell(reservations[i][1], found[i], order_id, actor)
    end
    reply[i + 1] = packed(found[i])
  end
  answer(concat(reply))
end
