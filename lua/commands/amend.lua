-- amend: give a hold new lines, a new deadline, or both; on shortage the old hold stays whole.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, created_ms, lines ("" keeps them), ttl_ms (0 keeps the deadline), owner, actor
-- Statuses  malformed, unknown_reservation, inconsistent, expired, not_active, unknown_sku, product_inactive,
--           due_holds, insufficient_stock, ok
-- Answers   expired, not_active, ok: the record; unknown_sku, product_inactive: the SKUs;
--           insufficient_stock: the shortages (available includes what this hold has already)
-- Writes    reserved of each SKU, the record, the deadline, event `amend`
-- Cost      O(old lines + new lines), and O(log holds) for the deadline
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"
--- @include "lib/holds"
--- @include "lib/shortages"
--- @include "lib/load"

-- What the hold has, by SKU; what it asks for beyond that; and every SKU of either, new ones first.
local function compare(old_skus, old_quantities, skus, quantities)
  local had, all, now_held = {}, {}, {}
  for i = 1, #old_skus do
    had[old_skus[i]] = old_quantities[i]
  end
  local keeps = {}
  for i = 1, #skus do
    all[i], now_held[i] = skus[i], quantities[i]
    keeps[skus[i]] = true
  end
  for i = 1, #old_skus do
    if not keeps[old_skus[i]] then
      all[#all + 1] = old_skus[i]
      now_held[#now_held + 1] = 0
    end
  end
  return had, all, now_held
end

local function growing(skus, quantities, had)
  local more_skus = {}
  for i = 1, #skus do
    if quantities[i] > (had[skus[i]] or 0) then
      more_skus[#more_skus + 1] = skus[i]
    end
  end
  return more_skus
end

local function shortages_beyond(skus, quantities, had)
  local short
  for i = 1, #skus do
    local sku, own = skus[i], had[skus[i]] or 0
    local free = available(stock[sku])
    if quantities[i] - own > free then
      short = short or {}
      short[#short + 1] = { sku, quantities[i], free + own, next_release(sku) }
    end
  end
  return short
end

local function amend(command, position)
  local base, created, text, ttl, owner, actor = command[2], command[3], command[4], command[5], command[6], command[7]
  local skus, quantities = command_skus[position], command_quantities[position]
  if type(base) ~= "string" or (text ~= "" and not skus) or type(owner) ~= "string" or type(actor) ~= "string"
    or not (ttl == 0 or is_whole(ttl, MIN_TTL_MS, MAX_TTL_MS)) or (text == "" and ttl == 0) then
    return answer(MALFORMED)
  end
  local record, damaged = find_reservation(base, created, owner)
  if damaged then
    return answer(INCONSISTENT)
  elseif not record then
    return answer(UNKNOWN_RESERVATION)
  elseif record[STATUS] == "EXPIRED" then
    return answer_record("expired", packed(record))
  elseif record[STATUS] ~= "ACTIVE" then
    return answer_record("not_active", packed(record))
  end
  local old_skus, old_quantities = parse_lines(record[LINES])
  if not covers(old_skus, old_quantities) then
    return answer(INCONSISTENT)
  end
  if text == "" then
    text, skus, quantities = record[LINES], old_skus, old_quantities
  end
  local had, all, now_held = compare(old_skus, old_quantities, skus, quantities)
  if refuse_skus(growing(skus, quantities, had)) then
    return
  end
  local short = shortages_beyond(skus, quantities, had)
  if short then
    return answer_short(short)
  end
  for i = 1, #all do
    local sku = all[i]
    stock[sku][2] = stock[sku][2] + now_held[i] - (had[sku] or 0)
    stock_changed[sku] = stock[sku]
  end
  remove_deadline(member_of(base, record))
  if record[FIRST_LINES] == "" and record[FINGERPRINT] ~= "" and text ~= record[LINES] then
    record[FIRST_LINES] = record[LINES]
  end
  record[LINES] = text
  record[UPDATED] = now
  if ttl > 0 then
    record[DEADLINE] = now + ttl
  end
  is_removed[member_of(base, record)] = nil
  add_deadline(member_of(base, record), format("%d", record[DEADLINE]))
  put_record(base, record)
  grows = true
  emit(ARRAY_5, "amend", base .. format("%012x", created), event_lines(all, now_held), record[DEADLINE], actor)
  answer_record("ok", packed(record))
end
