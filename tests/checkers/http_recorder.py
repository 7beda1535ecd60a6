"""Writes down what clients send and hear over HTTP: the storefront's paths, any server, any adapter.

Owns the translation of requests and answers; never chooses what is sent (workload.py) and never judges.
"""

from __future__ import annotations

from typing import Any

import httpx

from engine.identity import derived_base, make_id
from tests.checkers.history import NOT_APPLIED, UNKNOWN, Answer, Lines, Verb
from tests.checkers.recorder import Recorder

VERBS = {"reserve", "amend", "confirm", "release", "read", "availability"}
"""What a storefront's key may send."""

_REFUSALS = {
    "insufficient-stock": "insufficient_stock",
    "idempotency-key-reused": "key_reused",
    "reservation-expired": "expired",
    "reservation-not-active": "not_active",
    "unknown-reservation": "unknown_reservation",
}
_NOT_SENT = {"overloaded", "store-unavailable", "not-ready", "rate-limited"}


class HttpClient:
    """One client of a service. `send` gives the answer as it was written down."""

    def __init__(self, name: str, http: httpx.AsyncClient, recorder: Recorder, key_id: str) -> None:
        """`http` has the base URL and the Authorization header; `key_id` is the id of its API key."""
        self.name = name
        self._http = http
        self._recorder = recorder
        self._key_id = key_id

    async def send(self, verb: Verb, base: str = "", lines: Lines = (), *, created_ms: int = 0, **more: Any) -> Answer:
        """`base` is the Idempotency-Key; the history names what the service makes of it, as the journal does."""
        real = derived_base("reserve", self._key_id, base) if base else ""
        call = self._recorder.call(self.name, verb, real, lines, **more)
        try:
            answer = await self._request(verb, base, make_id(real, created_ms), lines, more)
        except httpx.ConnectError:
            return self._recorder.answer(call, NOT_APPLIED)
        except httpx.TransportError:
            return self._recorder.answer(call, UNKNOWN)
        return self._recorder.answer(call, **told_by(verb, answer))

    async def _request(self, verb: Verb, key: str, reservation_id: str, lines: Lines, more: Any) -> httpx.Response:
        wanted = [{"sku": sku, "quantity": units} for sku, units in lines]
        path = f"/inventory/reserve/{reservation_id}"
        ttl = {"ttl_seconds": more["ttl_ms"] // 1_000} if more.get("ttl_ms") else {}
        match verb:
            case "reserve":
                body = {"customer_id": "ann", "lines": wanted, "allow_partial": more.get("partial", False), **ttl}
                return await self._http.post("/inventory/reserve", json=body, headers={"idempotency-key": key})
            case "amend":
                return await self._http.patch(path, json={**({"lines": wanted} if wanted else {}), **ttl})
            case "confirm":
                return await self._http.post(f"{path}/confirm", json={"order_id": more["order_id"]})
            case "release":
                return await self._http.delete(path)
            case "read":
                return await self._http.get(path)
            case "availability":
                return await self._http.get("/inventory/availability", params=[("sku", sku) for sku, _ in lines])
            case _:
                raise ValueError(f"a storefront cannot {verb}")


def told_by(verb: Verb, answer: httpx.Response) -> dict[str, Any]:
    """What an answer tells, as fields of Answer. AssertionError for one that is not in the contract."""
    document = answer.json()
    if answer.is_success:
        if verb == "availability":
            return {"status": "ok", "available": tuple((one["sku"], one["available"]) for one in document["items"])}
        told: dict[str, Any] = {"id": document["id"], "held": _lines(document), "state": document["status"]}
        if answer.headers.get("idempotency-replayed") == "true":
            return told | {"status": "replayed", "state": ""}
        # Confirm and release say the same the first time and again: the history must not claim to know.
        return told | {"status": "ok" if verb in {"reserve", "amend", "read"} else "done"}
    code = document["code"]
    if code in _REFUSALS:
        told = {"status": _REFUSALS[code]}
        if code == "insufficient-stock":
            told["short"] = tuple((one["sku"], one["available"]) for one in document["shortages"])
        return told
    if code in _NOT_SENT:
        return {"status": NOT_APPLIED}
    assert answer.status_code == 503, f"{verb}: {answer.status_code} {answer.text}"
    return {"status": UNKNOWN}


def _lines(document: dict[str, Any]) -> Lines:
    return tuple((one["sku"], one["quantity"]) for one in document["lines"])
