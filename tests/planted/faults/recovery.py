"""Planted in what stands between a lost server and a wrong answer: admission, rebuild, replicas, the audit of settings.

Owns these faults; never how one is planted.
"""

from __future__ import annotations

from typing import Final

from tests.planted.faults.fault import fault

FAULTS: Final = [
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
    fault(
        "a recovery that was overtaken opens the store",
        "whoever has rebuilt it may open it",
        [("lua/reopen.lua", 'if call("HGET", KEYS[1], "fence") ~= ARGV[1] then', 'if ARGV[1] == "" then')],
        ["tests/worker/test_recovery.py"],
    ),
]
