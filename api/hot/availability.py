"""GET /inventory/availability, for one SKU in the path or up to 200 in the query. Owns nothing but their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

from api.hot import decode, respond
from api.hot.reserve import refusal
from api.problems import invalid
from engine import limits
from engine.commands import Availability, lines_text
from engine.results import Reply, StockLevel

if TYPE_CHECKING:
    from api.hot.endpoints import Hot
    from api.hot.exchange import Exchange

MAX_SKUS: Final = 200


def quantity_of(text: str) -> int:
    """The `quantity` parameter: plain digits, 1 to 10^9. Raises `validation-error`."""
    if text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= limits.MAX_QUANTITY:
        return int(text)
    raise invalid(f"must be a whole number from 1 to {limits.MAX_QUANTITY}", "quantity")


def query_pairs(query: bytes) -> list[tuple[str, str]]:
    """The query as text pairs. Raises `validation-error` when it cannot be read."""
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=2 * MAX_SKUS)
    except ValueError:
        raise invalid("the query cannot be read", "query") from None


def availability_json(level: StockLevel, requested: int) -> str:
    """One SKU's answer. An inactive product has stock, but none that can be had."""
    enough = level.active and level.available >= requested
    release = f'"{respond.timestamp(level.next_release_ms)}"' if level.next_release_ms else "null"
    return (
        f'{{"sku":"{level.sku}","requested":{requested},"available":{level.available},'
        f'"is_available":{"true" if enough else "false"},"next_release_at":{release}}}'
    )


class AvailabilityEndpoint:
    """GET /inventory/availability/{sku}?quantity=n and GET /inventory/availability?sku=a&sku=b."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._submit = hot.engine.submit

    def __call__(self, exchange: Exchange) -> None:
        """Look through the engine, so that due holds are given back first."""
        pairs = query_pairs(exchange.query) if exchange.query else []
        quantity = 1
        for name, value in pairs:
            if name == "quantity":
                quantity = quantity_of(value)
        one = exchange.argument
        skus = [one] if one else list(dict.fromkeys(value for name, value in pairs if name == "sku"))
        if not 1 <= len(skus) <= MAX_SKUS:
            raise invalid(f"name 1 to {MAX_SKUS} SKUs as sku=...", "sku")
        for sku in skus:
            decode.check_sku(sku, "sku")
        command = Availability(lines_text((sku, quantity) for sku in skus))
        self._submit(command, self._hot.on_reply(exchange, self._answer(exchange, quantity, bool(one))))

    def _answer(self, exchange: Exchange, requested: int, one: bool) -> Callable[[Any, Reply], None]:
        def answer(_: Any, reply: Reply) -> None:
            if reply.status != "ok":
                raise refusal(reply.status, reply)
            texts = [availability_json(StockLevel(*level), requested) for level in reply.payload[0]]
            text = texts[0] if one else f'{{"items":[{",".join(texts)}],"next_cursor":null}}'
            exchange.answer(200, text.encode())

        return answer
