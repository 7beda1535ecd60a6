"""Adjust, damage and return: stock changed by hand. Each answers with its ledger rows, once they are committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET

from api.hot.decode import check_sku, check_text
from api.hot.endpoints import PARTITION, wait_for_ledger
from api.hot.respond import shortage_documents
from api.openapi import IDEMPOTENCY_KEY, operation
from api.problems import OF_STATUS, Problem, invalid
from api.requests import ServicesDep, StockChanger, check_reason, idempotency_key, json_answer, read_json
from api.schemas import AdjustBody, DamageBody, ReturnBody, ReturnView, TransactionView
from api.views import transaction_view
from engine.commands import Adjust, AdjustOperation, TransactionType
from engine.identity import derived_base, fingerprint, random_base
from engine.limits import MAX_QUANTITY
from persistence.queries import transactions

if TYPE_CHECKING:
    from api.auth import Caller
    from api.services import Services
    from engine.results import Result

router = APIRouter(prefix="/inventory", tags=["stock changes"])

_ADJUST: Final = msgspec.json.Decoder(AdjustBody)
_DAMAGE: Final = msgspec.json.Decoder(DamageBody)
_RETURN: Final = msgspec.json.Decoder(ReturnBody)
_KINDS: Final[dict[str, tuple[AdjustOperation, TransactionType]]] = {
    "receive": ("add", "IN"),
    "remove": ("remove", "ADJUSTMENT"),
    "count": ("set", "ADJUSTMENT"),
}
_PROBLEMS: Final = (
    "insufficient-stock",
    "unknown-sku",
    "stock-limit",
    "durability-unknown",
    "idempotency-key-reused",
    "invalid-idempotency-key",
)


def refusal(result: Result) -> Problem:
    """The problem for a status that says an adjustment cannot be had."""
    code = OF_STATUS[result.status]
    if code == "insufficient-stock":
        shortages = shortage_documents(result.shortages)
        return Problem(code, "More than is on hand and not reserved.", {"shortages": shortages})
    if code == "unknown-sku":
        return Problem(code, "", {"skus": list(result.skus)})
    return Problem(code)


async def apply_adjustment(services: Services, command: Adjust) -> list[TransactionView]:
    """Run it, wait for the ledger, give its rows in order. A repeated key gives the rows it made the first time.

    Raises Problem for every refusal, and `durability-unknown` when the ledger takes too long: the change has been
    made then, and repeating the request with its key gives the rows once they are there.
    """
    result = await services.engine.execute(command)
    if result.status not in {"ok", "replayed"}:
        raise refusal(result)
    await wait_for_ledger(services, result.seq)
    rows = await transactions.of_event(services.database, PARTITION, services.settings.epoch, result.first_seq)
    if len(rows) != len(result.movements):
        raise Problem("durability-unknown")
    return [transaction_view(row) for row in rows]


def base_of(request: Request, caller: Caller) -> tuple[str, bool]:
    """The base of a stock change, and whether it comes from an Idempotency-Key."""
    key = idempotency_key(request)
    return (random_base(), False) if key is None else (derived_base("adjust", caller.id, key), True)


def keyed_fingerprint(keyed: bool, *parts: object) -> str:
    """The fingerprint of a stock change: every part of it that matters, encoded so that none runs into the next."""
    return fingerprint(msgspec.json.encode(parts)) if keyed else ""


@router.post(
    "/adjust",
    summary="Receive, remove or count stock",
    **operation({201: TransactionView}, *_PROBLEMS, body=AdjustBody, parameters=(IDEMPOTENCY_KEY,)),
)
async def adjust(request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """One row. A count that finds what was expected makes a row of 0, which says that somebody looked."""
    body = await read_json(request, _ADJUST)
    check_sku(body.sku, "$.sku")
    reason = check_reason(body.reason)
    if body.kind != "count" and not 1 <= body.quantity <= MAX_QUANTITY:
        raise invalid(f"must be from 1 to {MAX_QUANTITY}", "$.quantity")
    reference = "" if body.reference is UNSET or body.reference is None else body.reference
    check_text(reference, "$.reference")
    base, keyed = base_of(request, caller)
    operation_, kind = _KINDS[body.kind]
    command = Adjust(
        base=base,
        lines=((body.sku, operation_, body.quantity),),
        transaction_type=kind,
        reason=reason,
        reference_type="Adjustment",
        reference_id=reference,
        actor=caller.id,
        fingerprint=keyed_fingerprint(keyed, "adjust", body.sku, body.kind, body.quantity, reason, reference),
    )
    return json_answer((await apply_adjustment(services, command))[0], 201)


@router.post(
    "/damage",
    summary="Write off damaged stock",
    **operation({201: TransactionView}, *_PROBLEMS, body=DamageBody, parameters=(IDEMPOTENCY_KEY,)),
)
async def damage(request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """One DAMAGE row, negative."""
    body = await read_json(request, _DAMAGE)
    check_sku(body.sku, "$.sku")
    reason = check_reason(body.reason)
    base, keyed = base_of(request, caller)
    command = Adjust(
        base=base,
        lines=((body.sku, "remove", body.quantity),),
        transaction_type="DAMAGE",
        reason=reason,
        reference_type="Damage",
        reference_id="",
        actor=caller.id,
        fingerprint=keyed_fingerprint(keyed, "damage", body.sku, body.quantity, reason),
    )
    return json_answer((await apply_adjustment(services, command))[0], 201)


@router.post(
    "/return",
    summary="Take units back from an order",
    **operation({201: ReturnView}, *_PROBLEMS, body=ReturnBody, parameters=(IDEMPOTENCY_KEY,)),
)
async def return_units(request: Request, services: ServicesDep, caller: StockChanger) -> Response:
    """One RETURN row a SKU, all or none."""
    body = await read_json(request, _RETURN)
    check_text(body.order_id, "$.order_id")
    reason = check_reason(body.reason)
    units: dict[str, int] = {}
    for item in body.items:
        check_sku(item.sku, "$.items[...].sku")
        units[item.sku] = units.get(item.sku, 0) + item.quantity
        if units[item.sku] > MAX_QUANTITY:
            raise invalid(f"at most {MAX_QUANTITY} of one SKU", "$.items")
    base, keyed = base_of(request, caller)
    command = Adjust(
        base=base,
        lines=tuple((sku, "add", quantity) for sku, quantity in units.items()),
        transaction_type="RETURN",
        reason=reason,
        reference_type="Order",
        reference_id=body.order_id,
        actor=caller.id,
        fingerprint=keyed_fingerprint(keyed, "return", body.order_id, sorted(units.items()), reason),
    )
    return json_answer(ReturnView(await apply_adjustment(services, command)), 201)
