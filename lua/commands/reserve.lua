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

-- What depends on the ttl alone, made once a batch for each ttl in it: the deadline as msgpack and as text, the TTL of
-- the record as text, without and with an idempotency window.
local packed_now = nil
local terms = {}
local function terms_of(ttl)
  local deadline = now + ttl
  packed_now = packed_now or pack(now)
  local term = {
    pack(deadline),
    format("%d", deadline),
    format("%d", ttl_of("ACTIVE", now, deadline, false)),
    format("%d", ttl_of("ACTIVE", now, deadline, true)),
  }
  terms[ttl] = term
  return term
end

-- Write the record and the journal's event of a new hold, as engine/results.py Record and engine/events.py Reserved.
-- Joined by hand: this is the hot path, and one concatenation costs a third of cmsgpack's.
local function record_hold(base, text, balances, command)
  local ttl, owner, print, details = command[4], command[6], command[7], command[8]
  local term = terms[ttl] or terms_of(ttl)
  local packed_deadline, id = term[1], base .. now_hex
  local owner_header = text_headers[#owner] or text_header(#owner)
  local print_header = text_headers[#print] or text_header(#print)
  local details_header = text_headers[#details] or text_header(#details)
  local raw = "\154\166ACTIVE" .. packed_now .. packed_deadline .. packed_now .. owner_header .. owner .. print_header
    .. print .. (text_headers[#text] or text_header(#text)) .. text .. "\160\160" .. details_header .. details
  write_record(base, raw, print == "" and term[3] or term[4])
  add_deadline(id .. " " .. text, term[2])
  grows = true
  events = events + 1
  event_parts[2 * events - 1] = "\151\167reserve\217\036"
  event_parts[2 * events] = id .. (text_headers[#balances] or text_header(#balances)) .. balances
    .. packed_deadline .. owner_header .. owner .. print_header .. print .. details_header .. details
end

local function hold(base, text, skus, quantities, command)
  for i = 1, #skus do
    local level = stock[skus[i]]
    level[2] = level[2] + quantities[i]
    stock_changed[skus[i]] = level
  end
  record_hold(base, text, event_lines(skus, quantities), command)
end

-- The common case without a table: one line, and enough of it.
local function hold_single(base, text, sku, quantity, level, command)
  local reserved = level[2] + quantity
  level[2] = reserved
  stock_changed[sku] = level
  record_hold(base, text, text .. "=" .. format("%d=%d", level[1], reserved), command)
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
  local sku, quantity = single_sku[position], single_quantity[position]
  local raw = raw_records[base]
  if raw == nil or not (skus or sku) or not is_whole(ttl, MIN_TTL_MS, MAX_TTL_MS) or type(command[6]) ~= "string"
    or type(print) ~= "string" or type(command[8]) ~= "string" then
    return answer(MALFORMED)
  end
  if raw then
    if print == "" or unpack_all(raw)[FINGERPRINT] ~= print then
      return answer(KEY_REUSED)
    end
    return answer_record("replayed", raw)
  end
  if sku then
    local level = stock[sku]
    if level and level[5] == "1" and quantity <= level[1] - level[2] - level[3] then
      hold_single(base, text, sku, quantity, level, command)
      return answer(OK)
    end
    skus, quantities = { sku }, { quantity }
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
