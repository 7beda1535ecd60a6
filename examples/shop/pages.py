"""The shop's HTML: two pages, no scripts. Everything that is not ours is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from examples.shop.catalogue import ARTICLES, BY_SKU
from holdfast_client import Reservation

_HEAD = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Shop</title><body>'


def front_page(available: Mapping[str, int], running_low: frozenset[str], notice: str = "") -> str:
    """Every article with what can be had of it."""
    rows = "".join(
        f"<li>{escape(one.name)}, {one.price_cents / 100:.2f}: "
        f"{available[one.sku]} left{' - going fast' if one.sku in running_low else ''}"
        f"{_form('/cart', 'Into the cart', one.sku)}{_form('/buy-now', 'Buy now', one.sku)}</li>"
        for one in ARTICLES
    )
    return f"{_HEAD}<h1>Shop</h1><p>{escape(notice)}</p><ul>{rows}</ul><a href='/cart'>Cart</a>"


def cart_page(cart: Reservation | None, notice: str = "") -> str:
    """What is held for this visitor, and for how long."""
    if cart is None or cart.status != "ACTIVE":
        return f"{_HEAD}<h1>Cart</h1><p>{escape(notice)}</p><p>Your cart is empty.</p><a href='/'>Shop</a>"
    rows = "".join(f"<li>{line.quantity} x {escape(BY_SKU[line.sku].name)}</li>" for line in cart.lines)
    total = sum(BY_SKU[line.sku].price_cents * line.quantity for line in cart.lines)
    return (
        f"{_HEAD}<h1>Cart</h1><p>{escape(notice)}</p><ul>{rows}</ul><p>{total / 100:.2f}, held for "
        f"{cart.expires_in_seconds} s</p>{_form('/checkout', 'Pay')}{_form('/cart/empty', 'Empty the cart')}"
    )


def _form(action: str, label: str, sku: str = "") -> str:
    field = f'<input type="hidden" name="sku" value="{escape(sku)}">' if sku else ""
    return f'<form method="post" action="{action}">{field}<button>{label}</button></form>'
