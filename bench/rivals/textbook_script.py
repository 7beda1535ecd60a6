"""The reservation script that every article on the subject arrives at: one EVALSHA a reservation.

Owns the script and its call; the deadline comes from the caller, so that it pays for no TIME. It checks stock, refuses
a repeated id, counts, stores the hold with a TTL, notes its deadline and appends an event: the same effects as ours.
"""

from __future__ import annotations

from itertools import count
from typing import Final

SCRIPT: Final = """
local stock = redis.call('HMGET', KEYS[1], 'on_hand', 'reserved', 'safety')
if redis.call('EXISTS', KEYS[2]) == 1 then
  return -1
end
local quantity = tonumber(ARGV[1])
if tonumber(stock[1]) - tonumber(stock[2]) - tonumber(stock[3]) < quantity then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'reserved', quantity)
redis.call('HSET', KEYS[2], 'sku', ARGV[3], 'quantity', quantity, 'customer', ARGV[4], 'status', 'ACTIVE',
  'deadline', ARGV[2])
redis.call('PEXPIREAT', KEYS[2], ARGV[2] + 3600000)
redis.call('ZADD', KEYS[3], ARGV[2], ARGV[5])
redis.call('XADD', KEYS[4], '*', 'kind', 'reserve', 'id', ARGV[5], 'sku', ARGV[3], 'quantity', quantity,
  'customer', ARGV[4], 'deadline', ARGV[2])
return 1
"""

DEADLINES: Final = "t:deadlines"
JOURNAL: Final = "t:journal"
_customers = count(100_000)


def stock_key(sku: str) -> str:
    """The hash of one SKU."""
    return f"t:stock:{sku}"


def stock_fields() -> dict[str, int]:
    """The hash of a SKU that does not run out."""
    return {"on_hand": 100_000_000, "reserved": 0, "safety": 0}


def words(
    sku: str, reservation_id: str, deadline_ms: int, customer: str, quantity: int
) -> tuple[list[str], list[str | int]]:
    """KEYS and ARGV of one call."""
    keys = [stock_key(sku), f"t:hold:{reservation_id}", DEADLINES, JOURNAL]
    return keys, [quantity, deadline_ms, sku, customer, reservation_id]


def call(sha: str, sku: str, reservation_id: str, deadline_ms: int) -> tuple[str | int, ...]:
    """The whole EVALSHA for one unit of `sku` and a customer of its own."""
    keys, arguments = words(sku, reservation_id, deadline_ms, f"customer-{next(_customers)}", 1)
    return ("EVALSHA", sha, len(keys), *keys, *arguments)
