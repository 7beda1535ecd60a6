"""Every bound the engine enforces, in one place, with its unit. Lua enforces the same numbers again."""

from __future__ import annotations

import re
from typing import Final

MAX_QUANTITY: Final = 1_000_000_000
"""Units in one line or one adjustment (inclusive)."""

MAX_ON_HAND: Final = 1_000_000_000_000
"""Units a SKU may hold (inclusive): far below 2**53, where Lua numbers stop being exact."""

MAX_LINES: Final = 2_000
"""Lines in one reservation or adjustment, after lines that name a SKU twice are summed."""

MIN_TTL_MS: Final = 1_000
MAX_TTL_MS: Final = 86_400_000
"""How long a hold may last, in milliseconds: one second to one day."""

MAX_CONFIRM_RESERVATIONS: Final = 1_000
"""Reservations one confirm command may end together."""

MAX_TEXT: Final = 255
"""Characters in a customer, cart, order or reference id."""

MAX_BATCH_COMMANDS: Final = 512
"""Commands in one batch. Measured: past 256 the cost a command no longer falls, past 1,024 a batch holds
the server for more than 10 ms."""

MAX_BATCH_LINES: Final = 4_000
"""Lines in one batch, summed over its commands; a single larger command still travels alone."""

SKU_PATTERN: Final = r"^[A-Za-z0-9._:\-]+(?: [A-Za-z0-9._:\-]+)*\Z"
MAX_SKU: Final = 64
_SKU = re.compile(SKU_PATTERN)


def is_sku(text: str) -> bool:
    """True if `text` is a SKU: 1-64 characters of `A-Z a-z 0-9 . _ : -` and inner single spaces."""
    return 0 < len(text) <= MAX_SKU and _SKU.match(text) is not None
