-- What the deadline set can tell a command that found too little stock. Each look-up reads Redis at most once a batch.
--- @include "lib/state"

local DUE_LIMIT = 256
local LOOK_AHEAD = 64
-- "<id> <lines>": an id is 36 hex digits, lines are SKUs, "=", "," and digits.
local MEMBER = "^%x+ [%w%._:%-=, ]+$"

-- Members whose deadline has come and that this batch has not ended itself; read on first use. Members that the caller
-- found impossible to expire (the counters do not cover them) are left out, or nobody would ever get an answer; so is
-- what was never written here and names no hold.
local due_members = nil
local function due()
  if due_members == nil then
    due_members = {}
    local impossible, limit = {}, DUE_LIMIT
    for _, member in ipairs(ARGV[7] ~= "" and unpack_all(ARGV[7]) or {}) do
      impossible[member] = true
      limit = limit + 1
    end
    -- More of them than can be named.
    if impossible["*"] then
      return due_members
    end
    for _, member in ipairs(call("ZRANGEBYSCORE", DEADLINES, "-inf", format("%d", now), "LIMIT", "0", limit)) do
      if not is_removed[member] and not impossible[member] and find(member, MEMBER) and sub(member, 37, 37) == " " then
        due_members[#due_members + 1] = member
      end
    end
  end
  return due_members
end

-- True when holds are due: they must end before anybody is told that there is no stock.
local function any_due()
  return #due() > 0
end

-- Deadline in ms of the next hold on a SKU among the next LOOK_AHEAD deadlines, 0 when there is none there.
local upcoming = nil
local next_releases = {}
local function next_release(sku)
  local known = next_releases[sku]
  if known then
    return known
  end
  upcoming = upcoming
    or call("ZRANGEBYSCORE", DEADLINES, "(" .. format("%d", now), "+inf", "WITHSCORES", "LIMIT", "0", LOOK_AHEAD)
  local after_id, after_comma = " " .. sku .. "=", "," .. sku .. "="
  known = 0
  for i = 1, #upcoming, 2 do
    local member = upcoming[i]
    if find(member, after_id, 37, true) == 37 or find(member, after_comma, 37, true) then
      known = tonumber(upcoming[i + 1])
      break
    end
  end
  next_releases[sku] = known
  return known
end
