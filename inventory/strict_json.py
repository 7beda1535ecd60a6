"""JSON that means one thing: well-formed, and no object in it names a field twice.

Owns that check, for HTTP and for the stream alike; never decodes anything, and answers nobody.
"""

from __future__ import annotations

import json
from typing import Any


class NotStrict(ValueError):
    """Why not, in at most 200 characters."""


def check_strict(body: bytes) -> None:
    """Raise NotStrict unless `body` is one well-formed JSON text without duplicate keys."""
    try:
        # strict=False lets raw control characters pass: they are a matter of the value, not of the form.
        json.loads(body.decode(), object_pairs_hook=_once, parse_int=_digits, strict=False)
    except RecursionError:
        raise NotStrict("the body is nested too deeply") from None
    except ValueError as error:
        raise NotStrict(str(error)[:200]) from None


def _once(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"the field {key[:80]!r} is given twice")
        seen.add(key)


def _digits(_: str) -> int:
    return 0  # the value is not wanted, and converting 5,000 digits would only cost time
