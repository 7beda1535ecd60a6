"""Planted in the engine: what is sent to Redis, what is never sent twice, and what a lost server is called.

Owns these faults; never how one is planted.
"""

from __future__ import annotations

from typing import Final

from tests.planted.faults.fault import fault

BATCHER: Final = "engine/batcher.py"

FAULTS: Final = [
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
    fault(
        "a connection that went is a bug of ours",
        "redis-py says ConnectionError when a connection is lost",
        [("engine/client.py", "except RuntimeError as error:", "except NotImplementedError as error:")],
        ["tests/engine/test_client.py"],
    ),
    fault(
        "an answer of a life that has ended is believed",
        "what was answered was done",
        [(BATCHER, "            if self._sent_epoch[link] != self.admission.epoch:\n", "            if False:\n")],
        ["tests/engine/test_batcher_faults.py"],
    ),
    fault(
        "a full journal refuses who wants to pay",
        "full is full",
        [(BATCHER, "self.admission.journal_full and _adds_stock_work(command)", "self.admission.journal_full")],
        ["tests/http/test_journal_full.py"],
    ),
]
