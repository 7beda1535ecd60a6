"""The faults: what a careless engineer would write, each with the suites that must notice.

Owns the list; run.py plants them. A fault is kept current with the code: one whose old text is gone fails the run.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from tests.planted.changes import Change


class Fault(Struct, frozen=True):
    """One planted bug."""

    name: str
    why: str
    """What somebody would have thought."""
    changes: tuple[Change, ...]
    checks: tuple[str, ...]
    """Arguments of pytest: files, folders or single tests, of which one must fail."""


def fault(name: str, why: str, changes: list[tuple[str, str, str]], checks: list[str]) -> Fault:
    """A fault from plain tuples of (file, old, new)."""
    return Fault(name, why, tuple(Change(*change) for change in changes), tuple(checks))


RESERVE, CONFIRM, AMEND = "lua/commands/reserve.lua", "lua/commands/confirm.lua", "lua/commands/amend.lua"
HOLDS, LOAD, STORE = "lua/lib/holds.lua", "lua/lib/load.lua", "lua/lib/store.lua"
BATCHER, WRITER, FLUSHER = "engine/batcher.py", "persistence/ledger_writer.py", "worker/flusher.py"
PLAN, ADJUSTMENTS, APPROVALS = "persistence/flush_plan.py", "inventory/adjustments.py", "inventory/approvals.py"

MACHINE: Final = [
    fault(
        "available forgets holds",
        "available is what is on the shelf",
        [(RESERVE, "quantity <= level[1] - level[2] - level[3]", "quantity <= level[1] - level[3]")],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "the last unit is not sold",
        "less than is available must be left",
        [
            (RESERVE, "quantity <= level[1] - level[2] - level[3]", "quantity < level[1] - level[2] - level[3]"),
            ("lua/lib/shortages.lua", "    if quantities[i] > free then", "    if quantities[i] >= free then"),
        ],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "deadline off by one",
        "a hold is over after its deadline, so `>`",
        [(HOLDS, "now >= record[DEADLINE]", "now > record[DEADLINE]")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "confirm after the deadline",
        "the customer has paid, who cares about the deadline",
        [(CONFIRM, 'if status == "EXPIRED" and not late then', "if false then")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "a released hold can be confirmed",
        "the record is still there, so it can be sold",
        [(CONFIRM, 'elseif status == "CANCELLED" then', "elseif false then")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "a second confirm sells again",
        "confirm is only called once",
        [(CONFIRM, 'if found[i][STATUS] ~= "COMPLETED" then', "if true then")],
        ["tests/scripts/test_confirm.py"],
    ),
    fault(
        "released twice gives back twice",
        "a release that is repeated gives back what it says",
        [
            (
                "lua/commands/release.lua",
                'elseif record[STATUS] ~= "ACTIVE" then',
                'elseif record[STATUS] ~= "ACTIVE" and record[STATUS] ~= "CANCELLED" then',
            )
        ],
        ["tests/scripts/test_release.py"],
    ),
    fault(
        "an ended hold stays among the deadlines",
        "the sweeper will clean it up (a missing ZREM)",
        [(HOLDS, "  remove_deadline(member_of(base, record))\n", "")],
        ["tests/scripts/test_release.py"],
    ),
    fault(
        "a key is not remembered",
        "every request makes its own reservation",
        [(RESERVE, "  if raw then\n", "  if false then\n")],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "the fingerprint is ignored",
        "the same key is the same request",
        [(RESERVE, 'if print == "" or unpack_all(raw)[FINGERPRINT] ~= print then', 'if print == "" then')],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "the owner is not checked",
        "nobody can guess an id",
        [(HOLDS, 'if owner ~= "" and record[OWNER] ~= owner then', "if false then")],
        ["tests/scripts/test_release.py"],
    ),
    fault(
        "a partial grant holds what is missing",
        "the shortage is what is left over",
        [(RESERVE, "missing[short[i][1]] = short[i][3]", "missing[short[i][1]] = short[i][2] - short[i][3]")],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "due holds keep their units until swept",
        "the sweeper expires them soon enough",
        [
            (
                "lua/lib/shortages.lua",
                "  if any_due() then\n    answer(DUE_HOLDS)",
                "  if false then\n    answer(DUE_HOLDS)",
            )
        ],
        ["tests/scripts/test_reserve.py"],
    ),
    fault(
        "numbers as Lua reads them",
        "tonumber knows what a number is",
        [("lua/lib/lines.lua", '"([^=,]+)=([1-9]%d*),"', '"([^=,]+)=([^=,]+),"')],
        ["tests/scripts/test_hostile_numbers.py"],
    ),
    fault(
        "held units can be taken off the shelf",
        "an admin knows what is there",
        [("lua/commands/adjust.lua", "local free = level[1] - level[2]\n", "local free = level[1]\n")],
        ["tests/scripts/test_adjust.py"],
    ),
    fault(
        "written before checked",
        "change the counters while going through the lines, and answer at the end",
        [
            (
                AMEND,
                "  local short = shortages_beyond(skus, quantities, had)\n",
                "  for i = 1, #all do\n"
                "    stock[all[i]][2] = stock[all[i]][2] + now_held[i] - (had[all[i]] or 0)\n"
                "  end\n"
                "  local short = shortages_beyond(skus, quantities, had)\n",
            ),
            (
                AMEND,
                "    stock[sku][2] = stock[sku][2] + now_held[i] - (had[sku] or 0)\n    stock_changed",
                "    stock_changed",
            ),
        ],
        ["tests/scripts/test_amend.py"],
    ),
    fault(
        "pcall round the journal",
        "a journal that cannot be written must not stop a sale",
        [(STORE, '  call("XADD", JOURNAL', '  redis.pcall("XADD", JOURNAL'), (LOAD, '  call("XLEN", JOURNAL)\n', "")],
        ["tests/scripts/test_batches.py", "tests/scripts/test_damage.py"],
    ),
    fault(
        "no fencing",
        "there is only one life of the store",
        [(LOAD, "if not meta[1] or meta[1] ~= expected_epoch or", "if not meta[1] or")],
        ["tests/scripts/test_batches.py"],
    ),
    fault(
        "a sequence number twice",
        "the first event of a batch has the number that stands in meta",
        [(LOAD, "first_seq = seq + 1", "first_seq = seq")],
        ["tests/scripts/test_batches.py"],
    ),
    fault(
        "time goes back",
        "TIME is the time",
        [("lua/lib/clock.lua", "  if now < last_ms then\n    now = last_ms\n  end\n", "")],
        ["tests/scripts/test_batches.py"],
    ),
    fault(
        "growth hidden behind a removal",
        "the order of the writes does not matter, the script is atomic",
        [
            (STORE, "  if grows then\n    write_meta()\n  end\n", ""),
            (STORE, "  if not grows then\n    write_meta()\n  end\n", "  write_meta()\n"),
        ],
        ["tests/scripts/test_out_of_memory.py"],
    ),
]

ENGINE: Final = [
    fault(
        "the client's clock",
        "the clocks of our machines agree",
        [
            (
                BATCHER,
                'clock = "" if self.clock_ms is None else',
                "clock = str(__import__('time').time_ns() // 1_000_000) if self.clock_ms is None else",
            )
        ],
        ["tests/engine/test_clock.py"],
    ),
    fault(
        "a write is sent again on a lost connection",
        "no answer means that it was not done",
        [
            (
                BATCHER,
                "            self._answer_all(waiting, "
                'OutcomeUnknown("the connection was lost before the answer came"))',
                "            self._queue.extendleft(reversed(waiting))\n            self._plan()",
            )
        ],
        ["tests/engine/test_batcher_faults.py"],
    ),
    fault(
        "all callers share their keys",
        "an idempotency key is unique",
        [
            ("engine/identity.py", '{purpose}{caller}{key}"', '{purpose}{key}"'),
            ("engine/identity.py", "{len(purpose)}:{len(caller)}:", "{len(purpose)}:"),
        ],
        ["tests/engine/test_identity_and_keys.py"],
    ),
]

LEDGER: Final = [
    fault(
        "dedupe by stream id",
        "a stream id is unique and only grows",
        [
            (
                PLAN,
                "        if entry.last_seq <= self.seq:\n            return False\n        expected",
                "        here, there = (\n"
                "            [int(n) for n in one.split('-')] for one in (entry.stream_id, self.stream_id)\n"
                "        )\n"
                "        if here <= there:\n"
                "            return False\n        expected",
            )
        ],
        ["tests/worker/test_halts.py"],
    ),
    fault(
        "cursor without compare-and-set",
        "there is only one flusher",
        [
            (
                WRITER,
                """            f" WHERE {where} AND stream_id = '{_stream_id(begin.stream_id)}'\"""",
                """            f" WHERE partition = {self._partition:d} AND {bool(where)}\"""",
            )
        ],
        ["tests/worker/test_after_commit.py", "tests/worker/test_flusher_faults.py"],
    ),
    fault(
        "cursor outside the transaction",
        "first note where we are, then write",
        [
            (
                WRITER,
                "                self._move_cursor(connection, plan)\n",
                "                self._move_cursor(connection, plan)\n"
                '                connection.execute("COMMIT; BEGIN")\n',
            )
        ],
        ["tests/worker/test_flusher_faults.py"],
    ),
    fault(
        "told before it is committed",
        "whoever waits should hear as early as possible",
        [
            (
                WRITER,
                "                self._move_cursor(connection, plan)\n",
                "                connection.execute(\n"
                "                    f\"SELECT pg_notify('{LEDGER_CHANNEL}',\"\n"
                "                    f\" '{self._partition}:{plan.epoch}:{plan.seq}:')\"\n"
                "                )\n"
                "                self._move_cursor(connection, plan)\n",
            )
        ],
        ["tests/worker/test_after_commit.py"],
    ),
    fault(
        "balances are not held against each other",
        "the journal is always right",
        [(PLAN, "            if known.on_hand != before:\n                self._rebase(seq, known, before)\n", "")],
        ["tests/worker/test_halts.py"],
    ),
    fault(
        "a gap is passed over",
        "what is missing is missing",
        [(PLAN, "if entry.first_seq > expected and expected not in self._book.missing:", "if False:")],
        ["tests/worker/test_halts.py"],
    ),
    fault(
        "what cannot be read is thrown away",
        "one bad event in a million",
        [
            (
                PLAN,
                "            self._set_aside(seq, entry.stream_id, _event_bytes(entry, index), str(error))\n"
                "        else:",
                "            str(error)\n        else:",
            )
        ],
        ["tests/worker/test_quarantine.py"],
    ),
    fault(
        "trimmed past the cursor",
        "fifteen minutes are enough for any flusher",
        [
            (
                FLUSHER,
                'before = min(f"{extent.server_now_ms - self._settings.keep_ms}-0", '
                "cursor.stream_id, key=stream_position)",
                'before = f"{extent.server_now_ms - self._settings.keep_ms}-0"',
            ),
            (
                FLUSHER,
                "isinstance(entry, JournalEntry) and (entry.epoch, entry.last_seq) <= (cursor.epoch, cursor.seq)",
                "isinstance(entry, JournalEntry)",
            ),
        ],
        ["tests/worker/test_after_commit.py"],
    ),
    fault(
        "trimmed by MAXLEN",
        "a hundred entries are more than anybody needs",
        [("engine/journal.py", "minid=before_stream_id, approximate=False", "maxlen=100, approximate=False")],
        ["tests/worker/test_flusher_faults.py"],
    ),
    fault(
        "ledger durability does not wait",
        "the flusher is fast",
        [
            (
                "api/hot/endpoints.py",
                "        if not ledger:\n            exchange.answer",
                "        if True:\n            exchange.answer",
            )
        ],
        ["tests/http/test_by_id.py", "tests/http/test_faults.py"],
    ),
]

SERVICE: Final = [
    fault(
        "returns without the order's lock",
        "two returns of one order at once do not happen",
        [(ADJUSTMENTS, "async with order_lock(inventory.database, change.reference):", "if order_lock:")],
        ["tests/inventory/stock/test_returns.py"],
    ),
    fault(
        "people approve what they asked for",
        "a manager may do anything",
        [(APPROVALS, "    if approval.requested_by == by:\n        raise refusals.SelfApproval\n", "")],
        ["tests/inventory/stock/test_approvals.py"],
    ),
    fault(
        "an approval is not looked at again",
        "what was right when it was asked for is right",
        [
            (
                APPROVALS,
                "    if approval.difference is not None:\n",
                "    if approval.difference is None and approval.difference:\n",
            )
        ],
        ["tests/inventory/stock/test_approvals.py"],
    ),
    fault(
        "an interrupted approval is made anew",
        "every change gets an identity of its own",
        [
            (
                APPROVALS,
                "    identity = Identity(approval.base, approval.fingerprint)\n",
                "    identity = adjustments.identity_of(change)\n",
            ),
            (
                APPROVALS,
                "    if made is not None:\n        return await _write_outcome(inventory, approval.id, *made)\n",
                "",
            ),
        ],
        ["tests/inventory/stock/test_approval_crashes.py"],
    ),
    fault(
        "a chunk of an import has no identity",
        "a chunk is only applied once",
        [
            (
                "inventory/bulk/chunks.py",
                'base = derived_base("import", imported.id, f"{head.takes}:{head.first_row}:{count}")',
                'base = __import__("secrets").token_hex(12)',
            )
        ],
        ["tests/inventory/bulk/test_all_or_none.py"],
    ),
    fault(
        "a follower's cursor outside its transaction",
        "first the work, then the bookkeeping",
        [
            (
                "worker/follower.py",
                "                if not await followers.move(transaction, self._consumer.name, position, end):\n"
                '                    raise RuntimeError("the cursor moved although its row was held")\n',
                "",
            ),
            (
                "worker/follower.py",
                "        if entries:\n            self.status.entries",
                "        if entries:\n"
                "            async with self._database.transaction() as after:\n"
                "                await followers.move(after, self._consumer.name, position, end)\n"
                "            self.status.entries",
            ),
        ],
        ["tests/worker/test_follower.py"],
    ),
    fault(
        "a reader that comes back skips the rest of a batch",
        "a batch is one event",
        [
            (
                "inventory/events/log.py",
                "        begin = max(begin, after.seq + 1)\n",
                "        begin = begin if after.seq < begin else entry.last_seq + 1\n",
            )
        ],
        ["tests/inventory/events/test_outgoing.py"],
    ),
    fault(
        "two evaluators raise two alerts",
        "an alert that is already there is found",
        [("inventory/alerts/evaluator.py", "    await alerts.one_writer(transaction)\n", "")],
        ["tests/inventory/alerts/test_evaluator.py"],
    ),
    fault(
        "an event is delivered again",
        "a webhook can sort that out",
        [
            (
                "persistence/queries/webhook_deliveries.py",
                '        " ON CONFLICT (webhook_id, event_id) DO NOTHING"\n',
                "",
            )
        ],
        ["tests/inventory/webhooks/test_delivery.py"],
    ),
    fault(
        "a revoked key goes on",
        "keys known once need not be asked for again",
        [
            (
                "api/auth.py",
                "self._callers = {key.key_hash: caller_of(key.id, key.role) for key in keys}",
                "self._callers |= {key.key_hash: caller_of(key.id, key.role) for key in keys}",
            )
        ],
        ["tests/http/test_keys.py"],
    ),
    fault(
        "the sweeper believes every clock",
        "the server knows what time it is",
        [("worker/sweeper.py", "        if not self._clocks_agree(server_ms):\n            return 0\n", "")],
        ["tests/worker/test_sweeper.py"],
    ),
    fault(
        "a cancellation forgets what came back",
        "an order is cancelled whole",
        [("persistence/queries/orders.py", "self.sold - self.returned - self.put_back", "self.sold - self.put_back")],
        ["tests/http/test_orders.py"],
    ),
]

RECOVERY: Final = [
    fault(
        "any server will do",
        "a Redis that answers is the one we know",
        [("engine/admission.py", "return not self._refusal and self._run_id in {ANY_SERVER, run_id}", "return True")],
        ["tests/worker/test_recovery.py", "tests/engine/test_link.py"],
    ),
    fault(
        "a rebuild forgets the holds",
        "counters are what matters, carts can be filled again",
        [("worker/restoring.py", "        self._restore_holds()\n", "")],
        ["tests/worker/test_recovery.py"],
    ),
    fault(
        "nobody waits for the replica",
        "a replica that is connected has everything",
        [("engine/replicated.py", "        elif reply < wanted.replicas:", "        elif reply < 0:")],
        ["tests/engine/test_replicated.py"],
    ),
    fault(
        "fsync that does not sync",
        "once a second is often enough",
        [
            (
                "runtime/config_audit.py",
                '    elif policy == "everysec" and durability == "fsync":',
                '    elif policy == "never" and durability == "fsync":',
            )
        ],
        ["tests/runtime/test_config_audit.py"],
    ),
]

FAULTS: Final = (*MACHINE, *ENGINE, *LEDGER, *SERVICE, *RECOVERY)
