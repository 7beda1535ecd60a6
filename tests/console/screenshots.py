"""`make screenshots`: a throw-away service with a small shop in it, a sale played through it, pictures of the console.

Owns the shop and which pictures are taken; they go to docs/images and are shown in README. Not a test: it asserts
nothing but that no browser complained.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from playwright.sync_api import Page, expect

from runtime.throwaway_service import throwaway_service
from tests.console.browser import HOW_TO_GET_ONE, BrowserThread, chromium_path
from tests.console.stocked import Stocked
from tests.console.visitors import Visitors

FOLDER: Final = Path(__file__).parent.parent.parent / "docs" / "images"
MOST_BYTES: Final = 1_500_000
"""Of all pictures together."""
SEED: Final = 7
SALE_S: Final = 110.0
SALE_SKU: Final = "LAMP-ARC-GREEN"
ZONE: Final = "Europe/Berlin"

SHOP: Final = (
    ("LAMP-ARC-GREEN", "Arc lamp, green", "lamps", 300, 40),
    ("LAMP-ARC-WHITE", "Arc lamp, white", "lamps", 84, 20),
    ("LAMP-DESK-BRASS", "Desk lamp, brass", "lamps", 12, 20),
    ("MUG-RED", "Red mug", "kitchen", 640, 100),
    ("MUG-BLUE", "Blue mug", "kitchen", 58, 100),
    ("TEAPOT-1L", "Teapot, one litre", "kitchen", 120, 25),
    ("PAN-28", "Cast iron pan, 28 cm", "kitchen", 33, 10),
    ("KNIFE-CHEF", "Chef's knife", "kitchen", 210, 30),
    ("CHAIR-OAK", "Oak chair", "furniture", 46, 12),
    ("STOOL-ASH", "Ash stool", "furniture", 0, 8),
    ("SHELF-3", "Wall shelf, three boards", "furniture", 71, 15),
    ("RUG-WOOL-L", "Wool rug, large", "textiles", 18, 5),
    ("TOWEL-SET", "Towels, set of four", "textiles", 260, 60),
    ("CUSHION-LINEN", "Linen cushion", "textiles", 144, 40),
    ("CANDLE-6", "Candles, box of six", "gifts", 900, 150),
    ("VASE-TALL", "Tall vase", "gifts", 27, 10),
)


def main() -> int:
    """Take all pictures."""
    path = chromium_path()
    if path is None:
        print(HOW_TO_GET_ONE, file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    with throwaway_service(extra={"HOLDFAST_WEBHOOK_ALLOW_PRIVATE": "true"}) as service:
        keys = {"admin": service.admin_key, "storefront": service.storefront_key}
        stock = Stocked(service.url, keys)
        for role, name in (("operator", "Ann, warehouse"), ("manager", "Bea, head of stock")):
            made = stock.as_("admin").post("/admin/keys", json={"name": name, "role": role})
            keys[role] = made.json()["key"]
        imported = _furnish(stock)
        browser = BrowserThread(path)
        visitors = browser.run(lambda: Visitors(browser.browser, service.url, keys))
        try:
            browser.run(lambda: _pictures(visitors, stock, imported))
            complaints = browser.run(visitors.leave)
        finally:
            browser.close()
            stock.close()
    taken = sorted(FOLDER.glob("console-*.png"))
    size = sum(picture.stat().st_size for picture in taken)
    print(f"{len(taken)} pictures in {FOLDER}, {size / 1000:.0f} kB")
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    if size > MOST_BYTES:
        print(f"that is more than {MOST_BYTES / 1000:.0f} kB", file=sys.stderr)
    return 1 if complaints or size > MOST_BYTES else 0


def _furnish(stock: Stocked) -> str:
    """A shop with a past; the id of an import that waits."""
    chosen = random.Random(SEED)
    for sku, name, category, units, threshold in SHOP:
        stock.product(sku, stock=units, name=name, category=category, low_stock_threshold=threshold)
    for sku, _, _, units, _ in SHOP[1:]:
        for _ in range(chosen.randint(0, 2) if units > 20 else 0):
            stock.sell(sku, chosen.randint(1, 4))
        if units > 60:
            stock.hold(sku, chosen.randint(1, 6))
    stock.change("PAN-28", "damage", 2, "cracked in transit")
    stock.change("TEAPOT-1L", "receive", 48, "delivery note 4711")
    stock.change("VASE-TALL", "count", 25, "monthly count, three were behind the shelf")
    stock.change("MUG-RED", "receive", 2400, "container from the port, seal unbroken")
    stock.change("CANDLE-6", "receive", 1500, "for the winter", "manager")
    return stock.upload(
        "sku,quantity,note\nMUG-BLUE,72,found on the top shelf\nCHAIR-OAK,44,\nSHELF-3,71,\n"
        "TOWEL-SET,252,counted twice\nCUSHION-LINEN,150,\nRUG-WOOL-L,18,\nKNIFE-CHEF,206,\n",
        name="count-november.csv",
        reason="monthly count, aisles 3 to 7",
    )


def _pictures(visitors: Visitors, stock: Stocked, imported: str) -> None:
    def page(role: str, path: str, **more: Any) -> Page:
        opened = visitors.visit(role, path, zone=ZONE, scale=1.25, **more)
        expect(opened.locator("[data-connection]")).to_have_attribute("data-connection", "live")
        return opened

    _take(page("manager", "/console/history", dark=True), "console-history-dark")
    overview = page("manager", "/console")
    sale = page("manager", f"/console/flash-sale?sku={SALE_SKU}&minutes=5", dark=True)
    with _selling(stock) as over:
        while not over.is_set():
            overview.wait_for_timeout(500)
        _take(sale, "console-flash-sale-dark")
        _take(overview, "console-overview-light")
    _take(page("operator", "/console/stock"), "console-stock-light")
    _take(page("operator", "/console/stock", phone=True), "console-stock-phone")
    _take(page("operator", f"/console/products/{SALE_SKU}?span=hour", dark=True), "console-product-dark")
    _take(page("operator", f"/console/imports/{imported}"), "console-import-light")
    _take(page("manager", "/console/approvals"), "console-approvals-light")


def _take(page: Page, name: str) -> None:
    page.evaluate("document.fonts.ready")
    page.screenshot(path=FOLDER / f"{name}.png", scale="device", caret="hide")


@contextmanager
def _selling(stock: Stocked) -> Iterator[threading.Event]:
    """A sale in the background; the event is set when it is at its height. It ends with the block."""
    over, stop = threading.Event(), threading.Event()
    chosen = random.Random(SEED)
    shop = stock.as_("storefront")
    began = time.monotonic()

    def buy() -> None:
        while not stop.is_set():
            passed = (time.monotonic() - began) / SALE_S
            if passed > 1:
                over.set()
            body = {"customer_id": f"c-{chosen.randint(1, 9_999)}", "sku": SALE_SKU, "quantity": chosen.randint(1, 3)}
            answer = shop.post("/inventory/reserve", json=body)
            if answer.status_code == 201 and chosen.random() < 0.75:
                shop.post(
                    f"/inventory/reserve/{answer.json()['id']}/confirm",
                    json={"order_id": f"o-{chosen.randint(10_000, 99_999)}"},
                )
            # Few at first, a crowd in the middle, and a crowd that finds nothing at the end.
            stop.wait(0.12 + 1.4 * max(0.0, 1 - passed) ** 2)

    thread = threading.Thread(target=buy, daemon=True)
    thread.start()
    try:
        yield over
    finally:
        stop.set()
        thread.join(30)


if __name__ == "__main__":
    sys.exit(main())
