"""What the shop sells: names and prices are the shop's, stock is Holdfast's."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Article:
    """Something to buy. `price_cents`: of one."""

    sku: str
    name: str
    price_cents: int


ARTICLES = (
    Article("SHOP-TEAPOT", "Teapot", 3900),
    Article("SHOP-MUG", "Mug", 1200),
    Article("SHOP-TRAY", "Tray", 2500),
)
BY_SKU = {article.sku: article for article in ARTICLES}
