"""From cleaned lines to what a shop does with them: products, opening deliveries, orders, returns, write-offs.

Owns how the work is cut up. Never counts what the outcome should be: that is independent_sum.py's, from the same
lines by another way.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from engine.limits import MAX_LINES
from runtime.replay.cleaning import Kind, Line

MAX_DELIVERY: Final = 1_000
"""Units received, returned or written off in one request: up to here no second person has to approve it."""

MAX_NAME: Final = 200

CATEGORIES: Final = (
    ("Christmas", ("CHRISTMAS", "XMAS", "ADVENT", "SANTA", "REINDEER", "SNOW", "BAUBLE")),
    ("Bags", ("BAG", "BAGS", "PURSE", "RUCKSACK", "SHOPPER")),
    ("Lighting", ("LIGHT", "LIGHTS", "T-LIGHT", "LANTERN", "LAMP", "CANDLE", "CANDLES", "CANDLESTICK")),
    ("Kitchen", ("MUG", "CUP", "CUPS", "PLATE", "BOWL", "TEA", "TEAPOT", "CAKE", "LUNCH", "BAKING", "JAR", "TIN")),
    ("Stationery", ("CARD", "CARDS", "PAPER", "NOTEBOOK", "PENCIL", "PENCILS", "STICKER", "STICKERS", "RIBBON")),
    ("Toys", ("DOLL", "TOY", "GAME", "PUZZLE", "PLAYING", "CHILDRENS", "CHILD'S")),
    ("Jewellery", ("NECKLACE", "BRACELET", "EARRINGS", "RING", "BROOCH")),
    ("Home", ("CUSHION", "CLOCK", "FRAME", "MIRROR", "HOOK", "SIGN", "DOORMAT", "DRAWER", "CABINET", "HANGER")),
)
OTHER: Final = "Other"


class ProductPlan(Struct, frozen=True):
    """A product to make and the units that must be there before the first order."""

    sku: str
    name: str
    category: str
    opening: int


class OrderPlan(Struct, frozen=True):
    """One reservation to make and to confirm: an invoice, or a part of one that is too long."""

    order_id: str
    part: int
    customer: str
    lines: tuple[tuple[str, int], ...]


class ReturnPlan(Struct, frozen=True):
    """Goods that come back, as one request."""

    order_id: str
    part: int
    items: tuple[tuple[str, int], ...]


class DamagePlan(Struct, frozen=True):
    """Units of one SKU to write off, as one request."""

    invoice: str
    part: int
    sku: str
    quantity: int
    note: str


class Plan(Struct, frozen=True):
    """Everything to do. `work` is in the order of the file."""

    products: tuple[ProductPlan, ...]
    work: tuple[OrderPlan | ReturnPlan | DamagePlan, ...]
    summed_lines: int
    """Lines that named a SKU again within their invoice."""
    split_invoices: int
    """Invoices longer than a reservation may be."""


def make_plan(lines: Sequence[Line]) -> Plan:
    """Cut the file's lines into products, orders, returns and write-offs."""
    invoices: dict[str, list[Line]] = {}
    for line in lines:
        invoices.setdefault(line.invoice, []).append(line)
    work: list[OrderPlan | ReturnPlan | DamagePlan] = []
    summed = split = 0
    for invoice, own in invoices.items():
        sold, came_back, lost = (_summed(own, kind) for kind in (Kind.SALE, Kind.RETURN, Kind.DAMAGE))
        summed += len(own) - len(sold) - len(came_back) - len(lost)
        parts = [tuple(sold.items())[at : at + MAX_LINES] for at in range(0, len(sold), MAX_LINES)]
        split += len(parts) > 1
        customer = own[0].customer
        work += [OrderPlan(invoice, number, customer, part) for number, part in enumerate(parts)]
        work += [ReturnPlan(invoice, number, part) for number, part in enumerate(_baskets(came_back))]
        notes = {line.sku: line.description for line in own if line.kind == Kind.DAMAGE}
        for sku, quantity in lost.items():
            work += [
                DamagePlan(invoice, number, sku, units, notes[sku]) for number, units in enumerate(portions(quantity))
            ]
    return Plan(_products(lines), tuple(work), summed, split)


def portions(quantity: int) -> list[int]:
    """`quantity` in portions of at most MAX_DELIVERY units."""
    whole, rest = divmod(quantity, MAX_DELIVERY)
    return [MAX_DELIVERY] * whole + ([rest] if rest else [])


def _summed(lines: Iterable[Line], kind: Kind) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in lines:
        if line.kind == kind:
            sums[line.sku] = sums.get(line.sku, 0) + line.quantity
    return sums


def _baskets(came_back: dict[str, int]) -> list[tuple[tuple[str, int], ...]]:
    """Returned units in requests of at most MAX_LINES lines and MAX_DELIVERY units."""
    baskets: list[tuple[tuple[str, int], ...]] = []
    basket: list[tuple[str, int]] = []
    units = 0
    for sku, quantity in came_back.items():
        for portion in portions(quantity):
            # The same SKU twice in one request would be summed there: a portion of its own needs a basket of its own.
            again = bool(basket) and basket[-1][0] == sku
            if basket and (again or units + portion > MAX_DELIVERY or len(basket) == MAX_LINES):
                baskets.append(tuple(basket))
                basket, units = [], 0
            basket.append((sku, portion))
            units += portion
    if basket:
        baskets.append(tuple(basket))
    return baskets


def _products(lines: Sequence[Line]) -> tuple[ProductPlan, ...]:
    opening: Counter[str] = Counter()
    for line in lines:
        opening[line.sku] += line.quantity if line.kind != Kind.RETURN else 0
    names = names_of(lines)
    return tuple(ProductPlan(sku, names[sku], category_of(names[sku]), units) for sku, units in opening.items())


def names_of(lines: Iterable[Line]) -> dict[str, str]:
    """A name for each SKU: its most frequent description on priced lines, else on any line, else the SKU itself."""
    priced: dict[str, Counter[str]] = defaultdict(Counter)
    other: dict[str, Counter[str]] = defaultdict(Counter)
    skus: dict[str, None] = {}
    for line in lines:
        skus[line.sku] = None
        name = "".join(letter for letter in line.description if letter.isprintable())[:MAX_NAME].strip()
        if name:
            (priced if line.priced else other)[line.sku][name] += 1
    # Counter.most_common keeps the first seen first among equals.
    return {
        sku: next((names[sku].most_common(1)[0][0] for names in (priced, other) if names.get(sku)), sku) for sku in skus
    }


def category_of(name: str) -> str:
    """A category by the first telling word of CATEGORIES that stands in the name."""
    words = set(name.upper().replace(",", " ").replace("/", " ").split())
    return next((category for category, telling in CATEGORIES if words.intersection(telling)), OTHER)
