"""The client against the service's own description of itself: every operation, parameter, field and problem code.

A new endpoint, parameter or field of the service fails here until the client has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import msgspec
import pytest

from api.examples import EXAMPLES
from api.problems import KINDS, Problem
from holdfast_client import ReserveRequest
from holdfast_client.driving import Operation, Streamed
from holdfast_client.errors import Problem as ClientProblem
from holdfast_client.errors import Refused, Unavailable
from holdfast_client.events import DATA
from holdfast_client.problems import PROBLEMS, problem_of
from inventory.events.kinds import EVENT_TYPES
from inventory.webhooks.event_filter import TEST_EVENT
from tests.client.driving import KINDS as CLIENTS
from tests.client.driving import open_client

AT = datetime(2026, 3, 1, tzinfo=UTC)
ID = "0" * 36

# (method of the client, its arguments: every one of them, the operation of the service)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("reserve", ("A", 2), {"customer_id": "c", "cart_id": "k", "ttl_s": 9, "allow_partial": True,
                           "idempotency_key": "i"}, "POST /inventory/reserve"),
    ("reserve_batch", ([ReserveRequest(customer_id="c", lines={"A": 1}, cart_id="k", ttl_s=9, allow_partial=True)],),
     {}, "POST /inventory/reserve/batch"),
    ("get_reservation", (ID,), {}, "GET /inventory/reserve/{}"),
    ("amend", (ID, {"A": 1}), {"ttl_s": 9}, "PATCH /inventory/reserve/{}"),
    ("release", (ID,), {}, "DELETE /inventory/reserve/{}"),
    ("confirm", (ID, "o"), {"durability": "ledger"}, "POST /inventory/reserve/{}/confirm"),
    ("availability", ("A", 2), {}, "GET /inventory/availability/{}"),
    ("availability_of", (["A", "B"], 2), {}, "GET /inventory/availability"),
    ("order_created", ("o", [ID]), {}, "POST /inventory/orders"),
    ("order_cancelled", ("o", "gone"), {}, "POST /inventory/orders"),
    ("list_dead_letters", (), {"status": "PENDING", "page_size": 9}, "GET /inventory/orders/dead-letters"),
    ("retry_dead_letter", (1,), {}, "POST /inventory/orders/dead-letters/{}/retry"),
    ("put_product", ("A", "Mug"), {"category": "c", "low_stock_threshold": 1, "safety_stock": 1, "status": "active",
                                   "initial_stock": 1}, "PUT /inventory/products/{}"),
    ("get_product", ("A",), {}, "GET /inventory/products/{}"),
    ("list_products", (), {"category": "c", "status": "active", "q": "m", "page_size": 9}, "GET /inventory/products"),
    ("stock_status", ("A",), {}, "GET /inventory/products/{}/status"),
    ("low_stock", (), {"page_size": 9}, "GET /inventory/low-stock"),
    ("out_of_stock", (), {"page_size": 9}, "GET /inventory/out-of-stock"),
    ("list_levels", (), {"page_size": 9}, "GET /inventory/levels"),
    ("list_alerts", (), {"status": "PENDING", "sku": "A", "page_size": 9}, "GET /inventory/alerts"),
    ("resolve_alert", (1,), {}, "POST /inventory/alerts/{}/resolve"),
    ("adjust", ("A", "receive", 1), {"reason": "why", "reference": "r", "idempotency_key": "i"},
     "POST /inventory/adjust"),
    ("damage", ("A", 1), {"reason": "why", "idempotency_key": "i"}, "POST /inventory/damage"),
    ("return_units", ("o", {"A": 1}), {"reason": "why", "idempotency_key": "i"}, "POST /inventory/return"),
    ("list_approvals", (), {"status": "PENDING", "page_size": 9}, "GET /inventory/approvals"),
    ("get_approval", ("apr_0",), {}, "GET /inventory/approvals/{}"),
    ("approve", ("apr_0",), {"reason": "why"}, "POST /inventory/approvals/{}/approve"),
    ("reject", ("apr_0",), {"reason": "why"}, "POST /inventory/approvals/{}/reject"),
    *[("list_transactions", names, {"type": "IN", "reference_type": "Order", "reference_id": "o", "created_by": "k",
                                    "since": AT, "until": AT, "page_size": 9}, f"GET /inventory/transactions{path}")
      for names, path in (((), ""), (("A",), "/{}"))],
    ("list_reservations", (), {"status": "ACTIVE", "customer_id": "c", "sku": "A", "order_id": "o", "page_size": 9},
     "GET /inventory/reservations"),
    ("upload_stock", (b"sku,quantity\n",), {"mode": "set", "reason": "why", "name": "x.csv", "wait_s": 1,
                                            "idempotency_key": "i"}, "POST /inventory/bulk-update"),
    ("list_imports", (), {"page_size": 9}, "GET /inventory/bulk-update"),
    ("get_import", ("imp_0",), {}, "GET /inventory/bulk-update/{}"),
    ("list_import_changes", ("imp_0",), {"page_size": 9}, "GET /inventory/bulk-update/{}/changes"),
    ("apply_import", ("imp_0",), {"force": True, "wait_s": 1}, "POST /inventory/bulk-update/{}/apply"),
    ("revert_import", ("imp_0",), {"wait_s": 1}, "POST /inventory/bulk-update/{}/revert"),
    ("import_products", (b"sku,name\n",), {"name": "x.csv", "dry_run": True}, "POST /inventory/products/import"),
    ("export", ("csv",), {"category": "c", "status": "active", "min_available": 1, "max_available": 2},
     "GET /inventory/export"),
    ("reconciliation", (), {}, "GET /inventory/reconciliation"),
    ("events", (), {"types": ["stock.low"], "last_event_id": "oldest", "reconnect": False}, "GET /inventory/events"),
    ("pulse", (), {}, "GET /inventory/pulse"),
    ("health", (), {}, "GET /healthz"),
    ("readiness", (), {}, "GET /readyz"),
    ("metrics", (), {}, "GET /metrics"),
    ("list_jobs", (), {}, "GET /admin/jobs"),
    ("list_job_runs", ("a.job",), {"limit": 9}, "GET /admin/jobs/{}/runs"),
    ("create_key", ("shop", "storefront"), {}, "POST /admin/keys"),
    ("list_keys", (), {"page_size": 9}, "GET /admin/keys"),
    ("revoke_key", ("key_0",), {}, "DELETE /admin/keys/{}"),
    ("list_audit", (), {"key_id": "k", "action": "adjust", "since": AT, "until": AT, "page_size": 9},
     "GET /admin/audit"),
    ("create_webhook", ("https://8.8.8.8/", ["*"]), {}, "POST /admin/webhooks"),
    ("list_webhooks", (), {"page_size": 9}, "GET /admin/webhooks"),
    ("get_webhook", ("wh_0",), {}, "GET /admin/webhooks/{}"),
    ("delete_webhook", ("wh_0",), {}, "DELETE /admin/webhooks/{}"),
    ("test_webhook", ("wh_0",), {}, "POST /admin/webhooks/{}/test"),
    ("rotate_webhook_secret", ("wh_0",), {}, "POST /admin/webhooks/{}/rotate-secret"),
    ("enable_webhook", ("wh_0",), {}, "POST /admin/webhooks/{}/enable"),
    ("disable_webhook", ("wh_0",), {}, "POST /admin/webhooks/{}/disable"),
    ("list_deliveries", ("wh_0",), {"status": "FAILED", "page_size": 9}, "GET /admin/webhooks/{}/deliveries"),
    ("retry_delivery", ("wh_0", 1), {}, "POST /admin/webhooks/{}/deliveries/{}/retry"),
]  # fmt: skip
SAME_AS_ANOTHER = {"GET /inventory/{}/status"}
BY_THE_LIST = {"cursor"}
"""Query parameters that a list sends by itself."""
INSTEAD_OF_THE_HEADER = {"last_event_id"}


def blank(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)


@pytest.fixture(scope="module")
def document(service: Any) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{service.address('protocol')}/openapi.json", trust_env=False, timeout=30).json()
    return found


@pytest.fixture
def described(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {blank(path)}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


def test_every_operation_of_the_service_has_a_method(described: dict[str, Any]) -> None:
    assert {operation for *_, operation in CALLS} | SAME_AS_ANOTHER == set(described)


def test_every_method_is_in_the_table() -> None:
    from holdfast_client import Client

    methods = {name for name in dir(Client) if isinstance(getattr(Client, name), Operation | Streamed)}
    assert {name for name, *_ in CALLS} == methods


def example_of(operation: dict[str, Any], document: dict[str, Any]) -> tuple[int, str, bytes]:
    """A good answer of the service: status, content type, body."""
    status, answer = next((int(code), found) for code, found in operation["responses"].items() if code < "300")
    for media, content in answer.get("content", {}).items():
        # Not the example in the document: FastAPI leaves nulls out of it, and the service does not.
        example = EXAMPLES.get(content.get("schema", {}).get("$ref", "").rpartition("/")[2])
        if media == "application/json" and "$ref" in content.get("schema", {}):
            example = made_of(content["schema"], document) if example is None else example
            return status, media, msgspec.json.encode(example)
        if media != "application/json":
            return status, media, b"id: 0-1-0\n\n" if media == "text/event-stream" else b"text"
    return status, "text/plain", b"text"


def made_of(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """Some value of a schema that has no example."""
    schema = resolved(schema, document)
    for key in ("examples", "enum"):
        if key in schema:
            return schema[key][0]
    if "anyOf" in schema:
        return made_of(schema["anyOf"][0], document)
    if schema.get("type") == "object":
        return {name: made_of(one, document) for name, one in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [made_of(schema["items"], document)]
    return {"integer": 1, "number": 1.5, "boolean": True, "null": None}.get(schema.get("type", ""), "text")


def ask(
    name: str, args: Any, kwargs: Any, operation: dict[str, Any], document: Any, kind: str
) -> tuple[httpx.Request, Any]:
    seen: list[httpx.Request] = []
    status, media, body = example_of(operation, document)

    def answer(request: httpx.Request) -> httpx.Response:
        request.read() if kind == "sync" else None
        seen.append(request)
        return httpx.Response(status, headers={"content-type": media}, content=body)

    with open_client(kind, "http://shop", "k", answer=answer) as client:
        given = getattr(client, name)(*args, **kwargs)
        if isinstance(given, Iterator):
            given = list(given)
    (request,) = seen
    return request, given


@pytest.mark.parametrize(("name", "args", "kwargs", "operation"), CALLS, ids=[f"{c[0]}-{c[3]}" for c in CALLS])
def test_what_is_sent_is_what_the_service_describes(
    name: str, args: Any, kwargs: Any, operation: str, described: dict[str, Any], document: dict[str, Any]
) -> None:
    about = described[operation]
    request, _ = ask(name, args, kwargs, about, document, "sync")
    method, path = operation.split()
    assert request.method == method
    assert re.fullmatch(path.replace("{}", "[^/]+"), request.url.path)
    parameters = {(one["in"], one["name"].lower()) for one in about.get("parameters", []) if one["in"] != "path"}
    sent = {("query", key) for key in request.url.params}
    sent |= {("header", key) for key in request.headers if ("header", key) in parameters}
    optional = {("query", key) for key in BY_THE_LIST | INSTEAD_OF_THE_HEADER}
    assert sent - parameters == set()
    assert parameters - sent <= optional
    assert request.headers["authorization"] == "Bearer k"
    fields = body_fields(about, document)
    if "multipart/form-data" in about.get("requestBody", {}).get("content", {}):
        assert set(re.findall(rb'name="(\w+)"', request.content)) == {field.encode() for field in fields}
    elif request.content:
        whole = msgspec.json.decode(request.content)
        assert set(whole) <= fields
        left_out = {"sku", "quantity"} if name == "reserve" else set()
        kinds = {"OrderCreated", "OrderCancelled"}
        if not any(kind in str(about["requestBody"]) for kind in kinds):
            assert fields - set(whole) == left_out
    else:
        assert not fields


def body_fields(about: dict[str, Any], document: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for content in about.get("requestBody", {}).get("content", {}).values():
        schema = content["schema"]
        for one in schema.get("anyOf", [schema]):
            found |= set(resolved(one, document)["properties"])
    return found


def resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]  # type: ignore[no-any-return]
    return schema


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(("name", "args", "kwargs", "operation"), CALLS, ids=[f"{c[0]}-{c[3]}" for c in CALLS])
def test_what_is_answered_is_read_whole(
    kind: str, name: str, args: Any, kwargs: Any, operation: str, described: dict[str, Any], document: dict[str, Any]
) -> None:
    about = described[operation]
    _, given = ask(name, args, kwargs, about, document, kind)
    _, media, body = example_of(about, document)
    if media != "application/json" or name == "reserve_batch":
        return
    example = msgspec.json.decode(body)
    status = next(code for code in about["responses"] if code < "300")
    schema = resolved(about["responses"][status]["content"][media]["schema"], document)
    if isinstance(given, list):
        example, given = example["items"], msgspec.to_builtins(given)
    else:
        if isinstance(given, msgspec.Struct):
            assert set(schema["properties"]) == set(given.__struct_fields__)
        given = msgspec.to_builtins(given)
    assert_holds(example, given)


def assert_holds(example: Any, given: Any) -> None:
    """Every field of the example is in what the client gives."""
    if isinstance(example, dict) and isinstance(given, dict):
        for key, value in example.items():
            assert key in given, key
            assert_holds(value, given[key])
    elif isinstance(example, list):
        assert len(example) == len(given)
        for one, other in zip(example, given, strict=True):
            assert_holds(one, other)
    elif isinstance(example, str) and example.endswith(".000Z"):
        assert given == example.replace(".000Z", "Z")
    else:
        assert example == given


@pytest.mark.parametrize("code", KINDS)
def test_every_problem_of_the_service_has_a_class_of_its_own(code: str) -> None:
    members = Problem(code, "what happened").document()
    problem = problem_of(members, {"retry-after": "3", "x-request-id": "r-1"})
    assert type(problem) is PROBLEMS[code], f"{code}: holdfast_client/refusals.py or errors.py lacks it"
    assert (problem.code, problem.status, problem.detail) == (code, KINDS[code].status, "what happened")
    assert (problem.members, problem.retry_after_s, problem.request_id) == (members, 3.0, "r-1")
    assert isinstance(problem, Refused) == (problem.status < 500)
    assert isinstance(problem, Unavailable) == (problem.status == 503)


def test_the_client_knows_no_problem_that_the_service_has_not() -> None:
    assert set(PROBLEMS) == set(KINDS)


def test_a_problem_of_a_later_service_gets_the_class_of_its_status() -> None:
    for status, kind in ((409, Refused), (503, Unavailable), (500, ClientProblem)):
        assert isinstance(problem_of({"code": "of-tomorrow", "status": status}), kind)


def test_every_event_has_typed_data() -> None:
    assert set(DATA) == {*EVENT_TYPES, TEST_EVENT}


@pytest.mark.parametrize("code", [code for code in KINDS if code in EXAMPLES])
def test_members_of_problems_are_typed(code: str) -> None:
    problem = problem_of({**Problem(code).document(), **EXAMPLES[code]})
    for name, value in EXAMPLES[code].items():
        assert_holds(value, msgspec.to_builtins(getattr(problem, name)))
