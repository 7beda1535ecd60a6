"""What may be left in Redis after a test: keys that engine/keys.py names, of their type, records with a TTL.

Owns that rule; never removes a key.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import redis

from engine.keys import partition_keys

_KEYS = partition_keys(0)
_TYPES = {
    _KEYS.stock: "hash",
    _KEYS.deadlines: "zset",
    _KEYS.journal: "stream",
    _KEYS.meta: "hash",
    _KEYS.pulse: "hash",
    _KEYS.awaited: "string",
}
_RECORD = re.compile(re.escape(_KEYS.record_prefix) + r"[0-9a-f]{24}\Z")


def leaked_keys(client: redis.Redis, allowed: Iterable[str] = ()) -> list[str]:
    """One line for every key that should not be there. `allowed`: patterns of what a test left on purpose.

    A reservation's record must have a TTL, or it would stay for ever.
    """
    patterns = [re.compile(pattern) for pattern in allowed]
    leaks = []
    for raw in client.scan_iter(count=1000):
        key = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
        if any(pattern.match(key) for pattern in patterns):
            continue
        kind = client.type(raw)
        kind = kind.decode() if isinstance(kind, bytes) else kind
        if kind == "none":
            # Its time was over between the two questions.
            continue
        if key in _TYPES:
            if kind != _TYPES[key]:
                leaks.append(f"{key} is a {kind}, not a {_TYPES[key]}")
            if key in {_KEYS.pulse, _KEYS.awaited} and client.pttl(raw) == -1:
                leaks.append(f"{key} has no TTL")
        elif _RECORD.match(key):
            if kind != "string":
                leaks.append(f"record {key} is a {kind}")
            if client.pttl(raw) == -1:
                leaks.append(f"record {key} has no TTL")
        else:
            leaks.append(f"{key} ({kind}) is no key of ours")
    return leaks
