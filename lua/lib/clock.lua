-- The batch's clock: the server's TIME, once, and never earlier than any batch before it.
--- @include "lib/state"

-- last_ms: the clock of the last batch that wrote. override: ARGV[2], a test's own clock in ms, or "".
local function start_clock(last_ms, override)
  if override ~= "" then
    now = tonumber(override)
  else
    local time = call("TIME")
    now = time[1] * 1000 + floor(time[2] / 1000)
  end
  if now < last_ms then
    now = last_ms
  end
  now_hex = format("%012x", now)
end
