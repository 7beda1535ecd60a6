-- apply: one batch of commands of any kind, in order, each all or nothing by itself.
--
-- KEYS      1 stock (hash), 2 deadlines (zset), 3 journal (stream), 4 meta (hash), then every record (string) that a
--           command names
-- ARGV      1 msgpack list of commands, 2 clock in ms or "" for the server's, 3 prefix of record keys, 4 retention in
--           ms, 5 idempotency window in ms, 6 the epoch the caller believes in, 7 msgpack list of due members that
--           cannot be expired ("*": more of them than can be named), or ""
-- Answers   msgpack [now_ms, last sequence number, [result, ...], due members]; with the epoch wrong or missing: false
-- Cost      the sum of its commands, and about ten calls
--- @include "lib/clock"
--- @include "lib/load"
--- @include "lib/store"
--- @include "lib/due"
--- @include "lib/results"
--- @include "commands/reserve"
--- @include "commands/amend"
--- @include "commands/confirm"
--- @include "commands/release"
--- @include "commands/expire"
--- @include "commands/read"
--- @include "commands/availability"
--- @include "commands/adjust"
--- @include "commands/configure"
--- @include "commands/announce"
--- @include "commands/repair"

local verbs = {
  reserve = reserve,
  amend = amend,
  confirm = confirm,
  release = release,
  expire = expire,
  read = read,
  availability = availability,
  adjust = adjust,
  configure = configure,
  announce = announce,
  repair = repair,
}

local ready, last_ms = load_meta(ARGV[6])
if not ready then
  return false
end
start_clock(last_ms, ARGV[2])
local commands = unpack_all(ARGV[1])
load_batch(commands)
for position = 1, #commands do
  local command = commands[position]
  local verb = type(command) == "table" and verbs[command[1]]
  if verb then
    verb(command, position)
  else
    answer(MALFORMED)
  end
end
store_batch()
return ARRAY_4 .. pack(now, seq) .. "\221" .. struct.pack(">I4", answered) .. concat(results)
  .. pack(due_members or {})
