-- wrk's requests: each a reserve of one unit with an idempotency key and a customer of its own.
--
-- Arguments  API key, how many SKUs, a word that no other run uses in its keys
-- Answers    one line of JSON on standard output: requests, seconds, statuses outside 2xx, socket errors

local prefix, suffix, skus, run
local number = 0

function init(arguments)
  local key = arguments[1]
  skus = tonumber(arguments[2])
  run = arguments[3]
  prefix = "POST /inventory/reserve HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
    .. "\r\nAuthorization: Bearer " .. key .. "\r\nContent-Type: application/json\r\nIdempotency-Key: " .. run .. "-"
  suffix = "\r\nContent-Length: "
end

function request()
  number = number + 1
  local body = string.format('{"customer_id":"customer-%06d","sku":"SKU-%05d","quantity":1}', number % 1000000,
    number % skus)
  return prefix .. number .. suffix .. #body .. "\r\n\r\n" .. body
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"refused":%d,"broken":%d}\n', summary.requests, summary.duration / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
