-- Checking what a command asks for against what there is: unknown, inactive and short SKUs, all of them at once.
--- @include "lib/state"
--- @include "lib/due"
--- @include "lib/results"

local function available(level)
  local free = level[1] - level[2] - level[3]
  return math.max(free, 0)
end

-- Answers unknown_sku or product_inactive with every SKU it is true of; returns true when it answered.
local function refuse_skus(skus)
  local unknown, inactive
  for i = 1, #skus do
    local level = stock[skus[i]]
    if not level then
      unknown = unknown or {}
      unknown[#unknown + 1] = skus[i]
    elseif level[5] == "0" then
      inactive = inactive or {}
      inactive[#inactive + 1] = skus[i]
    end
  end
  if unknown then
    answer(pack({ "unknown_sku", unknown }))
    return true
  end
  if inactive then
    answer(pack({ "product_inactive", inactive }))
    return true
  end
  return false
end

-- Every line that asks for more than there is, or nil. Each: {SKU, requested, available, next release in ms or 0}.
local function shortages_of(skus, quantities)
  local short
  for i = 1, #skus do
    local free = available(stock[skus[i]])
    if quantities[i] > free then
      short = short or {}
      short[#short + 1] = { skus[i], quantities[i], free, next_release(skus[i]) }
    end
  end
  return short
end

local function answer_short(short)
  if any_due() then
    answer(DUE_HOLDS)
  else
    answer(pack({ "insufficient_stock", short }))
  end
end
