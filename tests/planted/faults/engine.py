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
]
