"""Start the shop: makes its products in Holdfast, then serves on http://127.0.0.1:8080 (or the port given)."""

from __future__ import annotations

import sys

import uvicorn

from examples.connection import address, key
from examples.shop.app import make_shop
from examples.shop.catalogue import ARTICLES
from holdfast_client import Client


def main() -> None:
    """Entry point."""
    with Client(address(), key("admin")) as admin:
        for article in ARTICLES:
            admin.put_product(article.sku, article.name, category="shop", low_stock_threshold=5, initial_stock=20)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    uvicorn.run(make_shop(address(), key("storefront")), host="127.0.0.1", port=port)


if __name__ == "__main__":
    main()
