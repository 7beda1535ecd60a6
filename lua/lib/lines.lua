-- Lines as text, "SKU=2,SKU2=1": parsed strictly, since a number that slips through here is stock.
--- @include "lib/state"

-- A quantity is digits, no sign, no leading zero, at most MAX_QUANTITY: tonumber alone would take "0x10", "1e3",
-- "1.5", " 5 " and "nan". Returns the number, or nil.
local function quantity_of(digits)
  if #digits > 10 then
    return nil
  end
  local quantity = tonumber(digits)
  if quantity > MAX_QUANTITY then
    return nil
  end
  return quantity
end

-- Returns two arrays, SKUs and quantities, or nil when any part of the text is not a line or a SKU stands twice.
local function parse_lines(text)
  local skus, quantities, seen, count, length = {}, {}, {}, 0, 0
  for sku, digits in gmatch(text .. ",", "([^=,]+)=([1-9]%d*),") do
    local quantity = quantity_of(digits)
    if not quantity or seen[sku] or count == MAX_LINES then
      return nil
    end
    seen[sku] = true
    count = count + 1
    skus[count], quantities[count] = sku, quantity
    length = length + #sku + #digits + 2
  end
  -- Every character must belong to a line: gmatch skips what does not fit. The comma is part of the match, or a missing
  -- one and a doubled one would make up for each other.
  if length ~= #text + 1 then
    return nil
  end
  return skus, quantities
end

-- Past it a number need no longer be the one that was asked for, and infinity is none.
local LARGEST_EXACT = 9007199254740992

-- A whole number from low to high; nan and infinities fail every comparison on purpose.
local function is_whole(value, low, high)
  return type(value) == "number" and value >= low and value <= high and value == floor(value)
end

-- "SKU=a=on_hand=reserved": one line of an event, balances after it.
local function event_line(sku, quantity)
  local level = stock[sku]
  return sku .. format("=%d=%d=%d", quantity, level[1], level[2])
end

local function event_lines(skus, quantities)
  local parts = {}
  for i = 1, #skus do
    parts[i] = event_line(skus[i], quantities[i])
  end
  return concat(parts, ",")
end
