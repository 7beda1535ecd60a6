-- reserve: hold every line or none, until a deadline.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash), record {tag}r:<base> (string)
-- Takes     base, lines, ttl_ms, partial, owner, fingerprint, details
-- Statuses  malformed, key_reused, replayed, unknown_sku, product_inactive, due_holds, insufficient_stock, ok
-- Answers   ok: nothing, or (lines, shortages) when partial; replayed: the record; key_reused: nothing;
--           unknown_sku, product_inactive: the SKUs; insufficient_stock: the shortages
-- Writes    reserved of each SKU, the record, the deadline, event `reserve`
-- Cost      O(lines), and O(log holds) for the deadline
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/records"
--- @include "lib/shortages"
--- @include "lib/load"

local function hold(base, text, skus, quantities, command)
  for i = 1, #skus do
    local level = stock[skus[i]]
    level[2] = level[2] + quantities[i]
    stock_changed[skus[i]] = true
  end
  local deadline = now + command[4]
  local owner, print, details = command[6], command[7], command[8]
  local raw = ARRAY_10 .. pack("ACTIVE", now, deadline, now, owner, print, text, "", "", details)
  local id = base .. now_hex
  raw_records[base] = raw
  records[base] = nil
  record_writes[base] = raw
  record_ttls[base] = ttl_of("ACTIVE", now, deadline, print ~= "")
  deadline_changes[id .. " " .. text] = deadline
  grows = true
  emit(ARRAY_7, "reserve", id, event_lines(skus, quantities), deadline, owner, print, details)
end

-- As much of each line as there is; lines of which there is nothing are left out.
local function hold_partly(base, skus, quantities, short, command)
  local missing = {}
  for i = 1, #short do
    missing[short[i][1]] = short[i][3]
  end
  local some, parts, amounts = {}, {}, {}
  for i = 1, #skus do
    local amount = missing[skus[i]] or quantities[i]
    if amount > 0 then
      some[#some + 1], amounts[#amounts + 1] = skus[i], amount
      parts[#parts + 1] = skus[i] .. "=" .. format("%d", amount)
    end
  end
  if #some == 0 then
    return nil
  end
  local text = concat(parts, ",")
  hold(base, text, some, amounts, command)
  return text
end

local function reserve(command, position)
  local base, text, ttl, print = command[2], command[3], command[4], command[7]
  local skus, quantities = command_skus[position], command_quantities[position]
  local raw = raw_records[base]
  if raw == nil or not skus or not is_whole(ttl, MIN_TTL_MS, MAX_TTL_MS) or type(command[6]) ~= "string"
    or type(print) ~= "string" or type(command[8]) ~= "string" then
    return answer(MALFORMED)
  end
  if raw then
    if print == "" or unpack_all(raw)[FINGERPRINT] ~= print then
      return answer(KEY_REUSED)
    end
    return answer_record("replayed", raw)
  end
  if refuse_skus(skus) then
    return
  end
  local short = shortages_of(skus, quantities)
  if not short then
    hold(base, text, skus, quantities, command)
    return answer(OK)
  end
  if command[5] ~= true or any_due() then
    return answer_short(short)
  end
  local held = hold_partly(base, skus, quantities, short, command)
  if not held then
    return answer_short(short)
  end
  answer(pack({ "ok", held, short }))
end
