"""Planted between journal and ledger: the flusher, its cursor, trimming, and who waits for the ledger.

Owns these faults; never how one is planted.
"""

from __future__ import annotations

from typing import Final

from tests.planted.faults.fault import fault

WRITER: Final = "persistence/ledger_writer.py"
FLUSHER: Final = "worker/flusher.py"
PLAN: Final = "persistence/flush_plan.py"

FAULTS: Final = [
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
