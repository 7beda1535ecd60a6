"""Types of settings whose values are more than a number or a word: keys, zones, addresses, limits.

Owns which text is a value; never knows which setting has it.
"""

from __future__ import annotations

from typing import Annotated, Final
from zoneinfo import ZoneInfoNotFoundError

from pydantic import AfterValidator, SecretStr

from api.rate_limits import parse_limits
from inventory.rules import zone_of

MIN_KEY_LENGTH: Final = 24


def _key(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if len(text) < MIN_KEY_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"a key has at least {MIN_KEY_LENGTH} printable ASCII characters and no space")
    return value


def _time_zone(name: str) -> str:
    try:
        zone_of(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("not a time zone of the IANA database") from None
    return name


ApiKey = Annotated[SecretStr, AfterValidator(_key)]
TimeZone = Annotated[str, AfterValidator(_time_zone)]


def stream_name(value: str) -> str:
    """`value`, the name of a stream to consume. Raises ValueError for one that belongs to the stock."""
    if value.startswith("{h"):
        raise ValueError("a name that begins with {h belongs to the stock: its keys are not a stream to consume")
    return value


def redis_address(value: SecretStr) -> SecretStr:
    """`value`, a Redis address. Raises ValueError for another scheme."""
    if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
        raise ValueError("a Redis address begins with redis://, rediss:// or unix://")
    return value


def _rate_limit(value: str) -> str:
    parse_limits(value)
    return value


RateLimit = Annotated[str, AfterValidator(_rate_limit)]
