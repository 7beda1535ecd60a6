"""The shop as a FastAPI application: a cart is a reservation, a checkout confirms it, an abandoned cart ends by itself.

Owns what each page does with Holdfast. It remembers which reservation a visitor has, and nothing about stock.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse

from examples.shop.catalogue import ARTICLES, BY_SKU
from examples.shop.pages import cart_page, front_page
from holdfast_client import (
    AsyncClient,
    HoldfastError,
    InsufficientStock,
    Reservation,
    ReservationEnded,
    WebhookRefused,
    verify_webhook,
)
from holdfast_client.events import ReservationExpired, StockLevelNews

CART_SECONDS = 900
COOKIE = "visitor"


class PaymentFailedError(Exception):
    """The card was refused."""


class Shop:
    """The shop's memory, and its client."""

    def __init__(self, client: AsyncClient, webhook_secret: str | None) -> None:
        self.client = client
        self.webhook_secret = webhook_secret
        self.carts: dict[str, str] = {}
        """Visitor -> id of the reservation."""
        self.running_low: set[str] = set()
        self.seen_events: set[str] = set()
        """Ids of webhook messages that were dealt with. A real shop has a table with a unique column."""
        self.refused_cards: set[str] = set()

    async def cart_of(self, visitor: str) -> Reservation | None:
        """What is held for a visitor, if anything still is."""
        if visitor not in self.carts:
            return None
        cart = await self.client.get_reservation(self.carts[visitor])
        if cart.status != "ACTIVE":
            del self.carts[visitor]
            return None
        return cart

    async def put_into_cart(self, visitor: str, sku: str) -> Reservation:
        """One unit more. The hold either grows whole or stays as it was. Raises InsufficientStock."""
        cart = await self.cart_of(visitor)
        if cart is not None:
            lines = {line.sku: line.quantity for line in cart.lines}
            lines[sku] = lines.get(sku, 0) + 1
            try:
                return await self.client.amend(cart.id, lines, ttl_s=CART_SECONDS)
            except ReservationEnded:
                pass  # between looking and amending: begin a new one
        cart = await self.client.reserve(sku, 1, customer_id=visitor, ttl_s=CART_SECONDS)
        self.carts[visitor] = cart.id
        return cart

    async def pay(self, visitor: str) -> None:
        """Stands for a payment service. Raises PaymentFailedError."""
        if visitor in self.refused_cards:
            raise PaymentFailedError

    async def checkout(self, visitor: str) -> Reservation | None:
        """Pay for the cart and sell it. None if it has ended in the meantime; then nothing is paid."""
        cart = await self.cart_of(visitor)
        if cart is None:
            return None
        # Time enough to pay: what was paid for must not expire before it is confirmed.
        await self.client.amend(cart.id, ttl_s=CART_SECONDS)
        await self.pay(visitor)
        # The order id is made of the hold's, so that a checkout that is repeated is the same order.
        sold = await self.client.confirm(cart.id, f"order-{cart.id}", durability="ledger")
        self.carts.pop(visitor, None)
        return sold


router = APIRouter()


@router.get("/")
async def front(request: Request) -> Response:
    """Every article, with what can be had of it."""
    return await _front(request)


@router.get("/cart")
async def look_at_cart(request: Request) -> Response:
    """What is held for this visitor."""
    return _page(request, cart_page(await _shop(request).cart_of(_visitor(request))))


@router.post("/cart")
async def into_cart(request: Request, sku: Annotated[str, Form()]) -> Response:
    """One unit more is held."""
    if sku not in BY_SKU:
        return await _front(request, "We do not sell that.", 404)
    try:
        cart = await _shop(request).put_into_cart(_visitor(request), sku)
    except InsufficientStock as short:
        soon = short.shortages[0].next_release_at
        return await _front(request, "Sold out." if soon is None else f"Sold out; look again at {soon:%H:%M:%S}.", 409)
    return _page(request, cart_page(cart))


@router.post("/cart/empty")
async def empty_cart(request: Request) -> Response:
    """What was held is given back."""
    shop, visitor = _shop(request), _visitor(request)
    cart = await shop.cart_of(visitor)
    if cart is not None:
        await shop.client.release(cart.id)
        del shop.carts[visitor]
    return _page(request, cart_page(None))


@router.post("/checkout")
async def checkout(request: Request) -> Response:
    """The hold becomes a sale."""
    shop, visitor = _shop(request), _visitor(request)
    try:
        sold = await shop.checkout(visitor)
    except PaymentFailedError:
        return _page(request, cart_page(await shop.cart_of(visitor), "Your card was refused."), 402)
    if sold is None:
        return _page(request, cart_page(None, "Your cart has expired; nothing was paid."), 410)
    return _page(request, cart_page(None, f"Thank you: {sold.order_id}."))


@router.post("/buy-now")
async def buy_now(request: Request, sku: Annotated[str, Form()]) -> Response:
    """Without a cart: the hold lasts as long as the block, and a card that is refused gives the unit back."""
    shop, visitor = _shop(request), _visitor(request)
    if sku not in BY_SKU:
        return await _front(request, "We do not sell that.", 404)
    try:
        async with shop.client.hold(sku, 1, customer_id=visitor, ttl_s=60) as hold:
            await shop.pay(visitor)
            sold = await hold.confirm(f"order-{hold.id}")
    except InsufficientStock:
        return await _front(request, "Sold out.", 409)
    except PaymentFailedError:
        return await _front(request, "Your card was refused.", 402)
    return await _front(request, f"Thank you: {sold.order_id}.")


@router.post("/hooks/holdfast")
async def hook(request: Request) -> Response:
    """What Holdfast tells, if it is Holdfast that tells it."""
    shop = _shop(request)
    if shop.webhook_secret is None:
        return Response(status_code=404)
    try:
        event = verify_webhook(shop.webhook_secret, request.headers, await request.body())
    except WebhookRefused:
        return Response(status_code=400)
    if event.id not in shop.seen_events:
        shop.seen_events.add(event.id)
        match event.data:
            case StockLevelNews(sku=sku):
                (shop.running_low.discard if event.type == "stock.back" else shop.running_low.add)(sku)
            case ReservationExpired(id=reservation_id):
                shop.carts = {who: held for who, held in shop.carts.items() if held != reservation_id}
    return Response(status_code=204)


def make_shop(url: str, storefront_key: str, webhook_secret: str | None = None) -> FastAPI:
    """The application. `webhook_secret`: of a webhook that leads to /hooks/holdfast."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncClient(url, storefront_key) as client:
            app.state.shop = Shop(client, webhook_secret)
            yield

    app = FastAPI(title="Shop", lifespan=lifespan)
    app.include_router(router)

    @app.exception_handler(HoldfastError)
    async def no_stock_service(request: Request, error: HoldfastError) -> Response:
        # The client has tried for as long as it may. Nothing is promised that is not held.
        return HTMLResponse("Please try again in a moment.", 503, {"Retry-After": "5"})

    return app


def _shop(request: Request) -> Shop:
    shop: Shop = request.app.state.shop
    return shop


def _visitor(request: Request) -> str:
    if not hasattr(request.state, "visitor"):
        request.state.visitor = request.cookies.get(COOKIE) or uuid.uuid4().hex
    return str(request.state.visitor)


async def _front(request: Request, notice: str = "", status: int = 200) -> Response:
    shop = _shop(request)
    found = await shop.client.availability_of([article.sku for article in ARTICLES])
    available = {one.sku: one.available for one in found}
    return _page(request, front_page(available, frozenset(shop.running_low), notice), status)


def _page(request: Request, html: str, status: int = 200) -> Response:
    answer = HTMLResponse(html, status)
    answer.set_cookie(COOKIE, _visitor(request), httponly=True, samesite="lax")
    return answer
