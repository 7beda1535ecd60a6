"""What nobody needs any more and is there all the same: objects that only the garbage collector would find.

Owns the counting; the fixture `without_collector` (tests/conftest.py) keeps the collector away meanwhile.
"""

from __future__ import annotations

import gc


def alive(*kinds: type) -> int:
    """How many objects of these types the process holds."""
    return sum(isinstance(one, kinds) for one in gc.get_objects())
