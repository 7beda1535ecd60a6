-- availability: look at the counters of SKUs, after due holds have ended.
--
-- KEYS      stock (hash), deadlines (zset), journal (stream), meta (hash)
-- Takes     lines ("SKU=requested" each)
-- Statuses  malformed, unknown_sku, due_holds, ok
-- Answers   unknown_sku: the SKUs; ok: a level each {SKU, on_hand, reserved, safety_stock, low_stock_threshold, active,
--           next release in ms or 0 (looked up only for a SKU that is short)}
-- Writes    nothing
-- Cost      O(lines)
--- @include "lib/state"
--- @include "lib/shortages"
--- @include "lib/load"

local function availability(_, position)
  local skus, quantities = command_skus[position], command_quantities[position]
  if not skus then
    return answer(MALFORMED)
  end
  local unknown = {}
  for i = 1, #skus do
    if not stock[skus[i]] then
      unknown[#unknown + 1] = skus[i]
    end
  end
  if #unknown > 0 then
    return answer(pack({ "unknown_sku", unknown }))
  end
  if any_due() then
    return answer(DUE_HOLDS)
  end
  local levels = {}
  for i = 1, #skus do
    local sku, level = skus[i], stock[skus[i]]
    local release_at = quantities[i] > available(level) and next_release(sku) or 0
    levels[i] = { sku, level[1], level[2], level[3], tonumber(level[4]), level[5] == "1", release_at }
  end
  answer(pack({ "ok", levels }))
end
