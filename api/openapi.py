"""The OpenAPI document: schemas from the structs that decode and encode, hot operations beside FastAPI's own.

Owns how an operation is described. The structs stand in schemas/ and hot/decode.py, examples in examples.py.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import defaultdict
from types import ModuleType
from typing import Any, Final

import msgspec
from fastapi import FastAPI
from msgspec import Struct

from api import schemas
from api.examples import EXAMPLES
from api.hot import decode
from api.problems import KINDS, PROBLEM_JSON, TYPE_PREFIX
from api.schemas import shop

REF: Final = "#/components/schemas/{name}"
BEARER: Final[list[dict[str, list[str]]]] = [{"apiKey": []}]
GUARDED: Final = ("unauthenticated", "forbidden", "rate-limited", "ledger-unavailable", "overloaded", "not-ready",
                  "store-unavailable", "outcome-unknown", "internal-error")  # fmt: skip
BODY: Final = ("malformed-json", "payload-too-large", "unsupported-media-type", "validation-error")
"""What every operation with a JSON body may answer."""


def _topics() -> list[ModuleType]:
    """The modules of schemas/: a topic that adds one need not be named anywhere else."""
    names = sorted(module.name for module in pkgutil.iter_modules(schemas.__path__))
    return [importlib.import_module(f"{schemas.__name__}.{name}") for name in names]


_STRUCTS: Final = [
    value
    for module in (decode, *_topics())
    for value in vars(module).values()
    if isinstance(value, type) and issubclass(value, Struct) and value is not Struct
]

IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key with the same request gives the first answer again; with another request, 422.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}
DURABILITY: Final = {
    "name": "Holdfast-Durability",
    "in": "header",
    "description": "What the answer has survived: `journal` any process kill, `fsync` a power cut, `replicated` a "
    "failover, `ledger` the loss of Redis. Default: the service's setting; `fsync` and `replicated` only where the "
    "service is set up for them, else 400.",
    "schema": {"enum": ["journal", "fsync", "replicated", "ledger"]},
}
RESERVATION_ID: Final = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{36}$"},
    "example": EXAMPLES["ReservationView"]["id"],
}
_SKU_SCHEMA: Final = {"type": "string", "minLength": 1, "maxLength": 64}


def _reference(kind: Any) -> dict[str, Any]:
    if isinstance(kind, type):
        return {"$ref": REF.format(name=kind.__name__)}
    return {"anyOf": [{"$ref": REF.format(name=one.__name__)} for one in kind.__args__]}


def _content(kind: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"schema": _reference(kind)}
    names = [kind.__name__] if isinstance(kind, type) else [one.__name__ for one in kind.__args__]
    examples = {name: {"value": EXAMPLES[name]} for name in names if name in EXAMPLES}
    if examples:
        content["examples"] = examples
    return {"application/json": content}


def _problem_example(code: str) -> dict[str, Any]:
    kind = KINDS[code]
    document = {
        "type": TYPE_PREFIX + code,
        "title": kind.title,
        "status": kind.status,
        "detail": kind.title,
        "code": code,
    }
    return {"value": {**document, **EXAMPLES.get(code, {})}}


def responses(answers: dict[int, Any], problems: tuple[str, ...]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation: status -> struct (None: no body), and the problem codes it may answer."""
    described: dict[int | str, dict[str, Any]] = {}
    for status, kind in answers.items():
        described[status] = {"description": (kind.__doc__ if isinstance(kind, type) else None) or "Done"}
        if kind is not None:
            described[status]["content"] = _content(kind)
    by_status: defaultdict[int, list[str]] = defaultdict(list)
    for code in problems:
        by_status[KINDS[code].status].append(code)
    for status, codes in sorted(by_status.items()):
        described[status] = {
            "description": ", ".join(f"`{code}`" for code in codes),
            "content": {
                PROBLEM_JSON.decode(): {
                    "schema": _reference(shop.ProblemView),
                    "examples": {code: _problem_example(code) for code in codes},
                }
            },
        }
        if status in {429, 503}:
            described[status]["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "seconds"}}
    return described


def operation(
    answers: dict[int, Any],
    *problems: str,
    body: Any = None,
    body_required: bool = True,
    parameters: tuple[dict[str, Any], ...] = (),
    guarded: bool = True,
) -> dict[str, Any]:
    """Keyword arguments for a FastAPI route decorator that describe it wholly."""
    codes = (*problems, *(BODY if body is not None else ()), *(GUARDED if guarded else ()))
    if not guarded or body is None:
        codes = (*codes, "validation-error") if guarded else codes
    extra: dict[str, Any] = {"security": BEARER if guarded else []}
    if body is not None:
        extra["requestBody"] = {"required": body_required, "content": _content(body)}
    if parameters:
        extra["parameters"] = list(parameters)
    described = responses(answers, tuple(dict.fromkeys(codes)))
    first = next(iter(answers))
    return {
        "status_code": first,
        "response_model": None,
        "responses": described,
        "openapi_extra": extra,
        "response_description": described[first]["description"],
    }


def _hot(tag: str, name: str, summary: str, text: str, **kwargs: Any) -> dict[str, Any]:
    described = operation(kwargs.pop("answers"), *kwargs.pop("problems", ()), **kwargs)
    return {
        "tags": [tag],
        "operationId": name,
        "summary": summary,
        "description": text,
        "responses": {str(status): value for status, value in described["responses"].items()},
        **described["openapi_extra"],
    }


def hot_paths() -> dict[str, dict[str, Any]]:
    """The hot operations, which FastAPI does not know."""
    view = shop.ReservationView
    ended = ("reservation-not-active", "reservation-expired", "unknown-reservation", "reservation-state-unknown",
             "durability-unknown")  # fmt: skip
    short = ("insufficient-stock", "unknown-sku", "product-inactive", "durability-unknown")
    skus = {"name": "sku", "in": "query", "required": True, "description": "1-200 SKUs",
            "schema": {"type": "array", "items": _SKU_SCHEMA, "minItems": 1, "maxItems": 200},
            "style": "form", "explode": True, "example": ["MUG-RED", "MUG-BLUE"]}  # fmt: skip
    sku = {"name": "sku", "in": "path", "required": True, "schema": _SKU_SCHEMA, "example": "MUG-RED"}
    quantity = {"name": "quantity", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 10**9,
                "default": 1}}  # fmt: skip
    tag = "reservations"
    return {
        "/inventory/reserve": {
            "post": _hot(tag, "reserve", "Hold stock", "All lines or none; with `allow_partial` as much as there is.",
                         answers={201: view}, body=decode.ReserveBody, parameters=(IDEMPOTENCY_KEY,),
                         problems=(*short, "idempotency-key-reused", "invalid-idempotency-key")),
        },
        "/inventory/reserve/batch": {
            "post": _hot(tag, "reserve_batch", "Hold stock for many", "Up to 1,000 independent reservations.",
                         answers={200: shop.BatchView}, body=decode.BatchBody, problems=("durability-unknown",)),
        },
        "/inventory/reserve/{id}": {
            "get": _hot(tag, "read", "Look at a reservation", "Also one that ended long ago.",
                        answers={200: view}, parameters=(RESERVATION_ID,),
                        problems=("unknown-reservation", "reservation-state-unknown")),
            "patch": _hot(tag, "amend", "Change a hold", "New lines and/or time; on shortage the old hold stays whole.",
                          answers={200: view}, body=decode.AmendBody, parameters=(RESERVATION_ID,),
                          problems=(*ended, *short)),
            "delete": _hot(tag, "release", "Give a hold back", "Again: the same answer.",
                           answers={200: view}, parameters=(RESERVATION_ID,), problems=ended),
        },
        "/inventory/reserve/{id}/confirm": {
            "post": _hot(tag, "confirm", "Turn a hold into a sale", "Again with the same order: the same answer.",
                         answers={200: view}, body=decode.ConfirmBody, body_required=False,
                         parameters=(RESERVATION_ID, DURABILITY), problems=(*ended, "invalid-durability")),
        },
        "/inventory/availability/{sku}": {
            "get": _hot("availability", "availability", "What can be held of one SKU", "Due holds count as given back.",
                        answers={200: shop.AvailabilityView}, parameters=(sku, quantity),
                        problems=("unknown-sku",)),
        },
        "/inventory/availability": {
            "get": _hot("availability", "availability_many", "What can be held of several SKUs", "Up to 200.",
                        answers={200: shop.AvailabilityList}, parameters=(skus, quantity),
                        problems=("unknown-sku",)),
        },
    }  # fmt: skip


def complete_openapi(app: FastAPI) -> None:
    """Make `app.openapi()` give the whole document: FastAPI's routes, the hot ones, and every struct."""
    plain = app.openapi

    def whole() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = plain()
        document["paths"] = {**hot_paths(), **document["paths"]}
        _, components = msgspec.json.schema_components(_STRUCTS, ref_template=REF)
        for name, schema in components.items():
            if name in EXAMPLES:
                schema["examples"] = [EXAMPLES[name]]
        # A batch's items are decoded one by one, so that one bad item leaves the others alone.
        components["BatchBody"]["properties"]["reservations"]["items"] = {"$ref": REF.format(name="BatchItemBody")}
        document.setdefault("components", {}).setdefault("schemas", {}).update(components)
        document["components"]["securitySchemes"] = {
            "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key"}
        }
        app.openapi_schema = document
        return document

    app.openapi = whole  # type: ignore[method-assign]
