-- wrk's requests: each the confirm of a reservation of its own.
--
-- Arguments  API key, durability level, file with one reservation id a line (more than will be asked for)
-- Answers    one line of JSON on standard output: requests, seconds, statuses outside 2xx, socket errors

local suffix, next_id

function init(arguments)
  next_id = io.lines(arguments[3])
  suffix = "/confirm HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port .. "\r\nAuthorization: Bearer "
    .. arguments[1] .. "\r\nHoldfast-Durability: " .. arguments[2] .. "\r\nContent-Length: 0\r\n\r\n"
end

function request()
  -- Past the last one every request is refused, and a run with refusals does not count.
  return "POST /inventory/reserve/" .. (next_id() or "none-is-left") .. suffix
end

function done(summary)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"seconds":%f,"refused":%d,"broken":%d}\n', summary.requests, summary.duration / 1e6,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
