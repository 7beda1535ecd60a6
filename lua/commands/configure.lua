-- configure: create a SKU, with its opening stock as an IN movement, or change its settings.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash)
-- Takes     sku, safety_stock, low_stock_threshold, active, initial_stock, actor, keeps
-- Statuses  malformed, stock_limit, ok
-- Answers   ok: (created, first sequence number)
-- Writes    the SKU's field, event `configure`, and event `adjust` for an opening stock above 0
-- Cost      O(1)
--
-- `keeps` names the settings that a SKU which is there keeps as they are, whatever is said of them: s safety_stock,
-- t low_stock_threshold, a active. A process of the version before sends none.
--- @include "lib/state"
--- @include "lib/lines"
--- @include "lib/journal"
--- @include "lib/results"

local function is_sku(text)
  return type(text) == "string" and #text >= 1 and #text <= MAX_SKU and not find(text, "[^%w%._:%- ]")
    and not find(text, "^ ") and not find(text, " $") and not find(text, "  ")
end

local function configure(command)
  local sku, safety, threshold, active, initial, actor =
    command[2], command[3], command[4], command[5], command[6], command[7]
  local keeps = command[8] or ""
  if not is_sku(sku) or not is_whole(safety, 0, MAX_QUANTITY) or not is_whole(threshold, 0, MAX_QUANTITY)
    or type(active) ~= "boolean" or not is_whole(initial, 0, LARGEST_EXACT) or type(actor) ~= "string"
    or type(keeps) ~= "string" then
    return answer(MALFORMED)
  end
  if initial > MAX_ON_HAND then
    return answer(STOCK_LIMIT)
  end
  local own_seq = first_seq + events
  local created = not stock[sku]
  local level = stock[sku] or { 0, 0 }
  -- Two changes at the same moment, each of another setting: kept is what the other one made of it.
  if created or not find(keeps, "s") then
    level[3] = safety
  end
  if created or not find(keeps, "t") then
    level[4] = format("%d", threshold)
  end
  if created or not find(keeps, "a") then
    level[5] = active and "1" or "0"
  end
  stock[sku] = level
  stock_changed[sku] = level
  grows = true
  emit(ARRAY_7, "configure", event_line(sku, 0), level[3], tonumber(level[4]), level[5] == "1", created, actor)
  if created and initial > 0 then
    level[1] = initial
    emit(ARRAY_8, "adjust", "", event_line(sku, initial), "IN", "opening stock", "Product", sku, actor)
  end
  answer(pack({ "ok", created, own_seq }))
end
