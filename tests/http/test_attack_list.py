"""The list of bad inputs and attacks: each with the tests that try it, and those tried here that belong nowhere else.

Owns the list. `test_every_attack_is_tried` fails when a test that it names is gone.
"""

from __future__ import annotations

import ast
import io
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog

from runtime.logs import configure_logs
from tests.http.conftest import Shop, assert_problem
from tests.http.running import KEYS

TESTS = Path(__file__).parent.parent

ATTACKS = {
    "another key's reservation": ["http/test_roles.py::test_anothers_reservation_is_unknown_by_every_verb"],
    "role crossing": ["http/test_roles.py::test_every_role", "http/test_roles.py::test_without_a_good_key"],
    "self-approval, approval by another role": ["http/test_approvals.py::test_refusals"],
    "imports of other callers": ["http/test_attack_list.py::test_an_import_of_another_caller"],
    "unknown fields": ["http/test_attacks.py::test_unknown_fields"],
    "quantities that are none": ["http/test_attacks.py::test_quantities", "scripts/test_hostile_numbers.py::*"],
    "duplicate JSON keys": ["http/test_attacks.py::test_fields_given_twice"],
    "deep bodies": ["http/test_attacks.py::test_what_is_not_json"],
    "bodies too large": ["http/test_connections.py::test_a_declared_body_past_the_limit"],
    "chunks for ever": ["http/test_connections.py::test_chunks_for_ever"],
    "non-JSON": ["http/test_attacks.py::test_other_media_types"],
    "NUL, surrogates, RTL, long and non-NFC SKUs": [
        "http/test_attacks.py::test_lone_surrogates", "http/test_attack_list.py::test_skus_that_are_none"],
    "SKUs with {}, :, *, CRLF": ["http/test_attack_list.py::test_skus_that_look_like_keys_are_literal",
                                 "http/test_attack_list.py::test_skus_that_are_none"],
    "SQL and Lua text in every field": ["http/test_attacks.py::test_sql_and_lua_in_every_text_field",
                                        "http/test_attack_list.py::test_code_in_every_field_is_text"],
    "tampered cursor": ["http/test_queries.py::test_cursors_that_were_not_given_out",
                        "http/test_attack_list.py::test_tampered_cursors_of_every_list"],
    "tampered preview id": ["http/test_bulk.py::TestWho::test_ids_that_are_none"],
    "limit=10^9": ["http/test_attack_list.py::test_limits_of_every_list"],
    "times to live": ["http/test_attacks.py::test_times_to_live"],
    "parallel double-book": ["engine/test_races.py::*"],
    "Idempotency-Key": ["http/test_attack_list.py::test_idempotency_keys_that_are_none",
                        "http/test_attack_list.py::test_an_idempotency_key_of_another_caller"],
    "key timing": ["http/test_attack_list.py::test_a_key_is_looked_up_by_its_hash"],
    "revoked key": ["http/test_keys.py::test_a_revoked_key_stops",
                    "http/test_keys.py::test_a_key_revoked_elsewhere_stops_within_five_seconds",
                    "http/test_events.py::test_a_revoked_key_ends_its_stream"],
    "key in URL": ["http/test_roles.py::test_a_key_in_the_url_is_no_key"],
    "keys in logs": ["http/test_attack_list.py::test_no_secret_leaves_by_a_log_or_an_answer",
                     "http/test_keys.py::test_no_key_is_ever_logged", "runtime/test_logs.py::test_hostile_values",
                     "http/test_webhooks.py::test_no_secret_is_ever_logged"],
    "spoofed X-Forwarded-For": ["http/test_attacks.py::test_a_forged_sender_address_changes_nothing"],
    "webhooks into the network": ["http/test_webhooks.py::test_where_webhooks_may_not_lead",
                                  "inventory/webhooks/test_endpoint_url.py::test_addresses_that_are_never_called"],
    "DNS rebinding": ["inventory/webhooks/test_sender.py::test_a_name_that_turns_to_a_private_address_is_not_called",
                      "inventory/webhooks/test_sender.py::test_what_was_checked_is_what_is_called"],
    "webhook replay": ["http/test_webhooks.py::test_from_an_event_to_a_verified_request"],
    "formula cells": ["http/test_export.py::test_formula_cells", "http/test_export.py::test_a_formula_is_text"],
    "XLSX zip bomb": ["inventory/bulk/test_files.py::TestHostileWorkbooks::test_a_bomb"],
    "XXE": ["inventory/bulk/test_files.py::TestHostileWorkbooks::test_no_entity_is_ever_resolved"],
    "endless uploads": ["http/test_uploads.py::test_too_large_and_never_ending_uploads"],
    "uploads of the wrong type": ["http/test_uploads.py::TestForms::test_what_is_no_form",
                                  "http/test_uploads.py::test_files_that_are_refused"],
    "CSV of 10^7 rows": ["inventory/bulk/test_files.py::TestTooManyRows::test_the_rest_is_not_even_read"],
    "bad UTF-8, duplicate SKUs": ["http/test_uploads.py::test_files_with_errors",
                                  "http/test_bulk.py::test_errors_of_all_rows_at_once_and_nothing_applied"],
    "forced 500": ["http/test_faults.py::test_a_mistake_of_ours_shows_no_stack_trace"],
    "Redis or Postgres down": ["http/test_faults.py::test_redis_goes_and_comes_back",
                               "http/test_faults.py::test_postgres_goes_and_comes_back"],
    "endless heads, silence, floods": ["http/test_connection_limits.py::*"],
    "event streams": ["http/test_events.py::test_one_stream_too_many",
                      "http/test_events.py::test_a_reader_that_takes_nothing_is_dropped_and_keeps_nobody_waiting"],
    "too many requests of one key": ["http/test_rate_limit.py::test_hot_requests"],
    "pickles in the job queue": ["worker/test_planted_jobs.py::test_planted_pickles_are_never_loaded"],
}  # fmt: skip


def names_of_tests(path: Path) -> set[str]:
    """Names of a file's tests, with and without the class they stand in."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            names.add(node.name)
    return names


def test_every_attack_is_tried() -> None:
    for attack, where in ATTACKS.items():
        for one in where:
            file, _, name = one.partition("::")
            assert (TESTS / file).exists(), (attack, one)
            found = names_of_tests(TESTS / file)
            assert found, (attack, one)
            assert name == "*" or name.rpartition("::")[2] in found, (attack, one)


LISTS = ["/inventory/products", "/inventory/levels", "/inventory/low-stock", "/inventory/out-of-stock",
         "/inventory/alerts", "/inventory/transactions", "/inventory/reservations", "/inventory/approvals",
         "/inventory/bulk-update", "/inventory/orders/dead-letters", "/admin/audit", "/admin/webhooks"]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", ["1000000000", "501", "0", "-1", "1.5", "x", "NaN", "9" * 5000])
def test_limits_of_every_list(one_shop: Shop, path: str, limit: str) -> None:
    assert_problem(one_shop.as_("admin").get(path, params={"limit": limit}), 422, "validation-error")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("cursor", ["x", "AAAA", "' OR 1=1 --", "eyJpZCI6MX0", "A" * 500, "..", "é"])
def test_tampered_cursors_of_every_list(one_shop: Shop, path: str, cursor: str) -> None:
    assert_problem(one_shop.as_("admin").get(path, params={"cursor": cursor}), 400, "invalid-cursor")


SKUS = ["", " ", " a", "a ", "a  b", "a\x00b", "a\r\nb", "a\tb", "a{b}", "{h00}:stock", "a*", "a?b", "a/b", "a,b",
        "a=b",
        "a'b", 'a"b', "a;b", "a$b", "a\\b", "\u202eabc", "ab\u200bc", "e\u0301", "é", "Å", "x" * 65, "x" * 1_000_000,
        "..%2f", "a%00b", "<script>"]  # fmt: skip


@pytest.mark.parametrize("sku", SKUS, ids=lambda text: ascii(text[:12]))
def test_skus_that_are_none(shop: Shop, sku: str) -> None:
    before = shop.journal_seq(), shop.records()
    answer = shop.as_("storefront").post("/inventory/reserve", json={"customer_id": "ann", "sku": sku, "quantity": 1})
    assert_problem(answer, 422, "validation-error")
    body = {"sku": sku, "kind": "receive", "quantity": 1, "reason": "an attack"}
    assert_problem(shop.as_("operator").post("/inventory/adjust", json=body), 422, "validation-error")
    assert (shop.journal_seq(), shop.records()) == before


@pytest.mark.parametrize("sku", ["a:b", "h00:stock", "..", "-", "r:0", "a.b-c_d:e f", "__proto__", "NaN", "1e3"])
def test_skus_that_look_like_keys_are_literal(one_shop: Shop, sku: str) -> None:
    name = f"{sku} {uuid.uuid4().hex[:8]}"
    records = one_shop.records()
    body = {"customer_id": "ann", "sku": name, "quantity": 1}
    answer = one_shop.as_("storefront").post("/inventory/reserve", json=body)
    assert assert_problem(answer, 404, "unknown-sku")["skus"] == [body["sku"]]
    assert one_shop.records() == records


CODE = ["'; DROP TABLE products; --", "\") redis.call('FLUSHALL') --", "${jndi:ldap://x}", "{{7*7}}", "%s%n%x", "`id`"]


@pytest.mark.parametrize("code", CODE)
def test_code_in_every_field_is_text(one_shop: Shop, code: str) -> None:
    sku = one_shop.sku(5)
    held = one_shop.reserve(sku, 1, cart_id=code, customer_id=code)
    assert (held["customer_id"], held["cart_id"]) == (code, code)
    answer = one_shop.as_("storefront").post(f"/inventory/reserve/{held['id']}/confirm", json={"order_id": code})
    assert (answer.status_code, answer.json()["order_id"]) == (200, code)
    body = {"sku": sku, "kind": "receive", "quantity": 1, "reason": f"{code} reason", "reference": code}
    row = one_shop.as_("operator").post("/inventory/adjust", json=body)
    assert (row.status_code, row.json()["reason"], row.json()["reference_id"]) == (201, f"{code} reason", code)
    found = one_shop.as_("auditor").get(f"/inventory/transactions/{sku}").json()["items"]
    assert [item["reference_id"] for item in found[:2]] == [code, code]
    assert one_shop.level(sku) == (5, 0)


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\xe9"])
@pytest.mark.parametrize("path", ["/inventory/reserve", "/inventory/adjust"])
def test_idempotency_keys_that_are_none(shop: Shop, path: str, key: str) -> None:
    sku = shop.sku()
    body = {"customer_id": "ann", "sku": sku, "quantity": 1}
    if path.endswith("adjust"):
        body = {"sku": sku, "kind": "receive", "quantity": 1, "reason": "an attack"}
    answer = shop.as_("admin").post(path, json=body, headers=[(b"idempotency-key", key.encode("latin-1"))])
    assert_problem(answer, 400, "invalid-idempotency-key")
    assert shop.level(sku) == (10, 0)


def test_an_idempotency_key_of_another_caller(shop: Shop) -> None:
    sku = shop.sku()
    body, headers = {"customer_id": "ann", "sku": sku, "quantity": 1}, {"idempotency-key": f"cart of {sku}"}
    ours = shop.as_("storefront").post("/inventory/reserve", json=body, headers=headers)
    theirs = shop.as_("other-storefront").post("/inventory/reserve", json=body, headers=headers)
    assert (ours.status_code, theirs.status_code) == (201, 201)
    assert ours.json()["id"] != theirs.json()["id"]
    assert shop.level(sku) == (10, 2)


def test_an_import_of_another_caller(one_shop: Shop) -> None:
    sku = one_shop.sku()
    files, data = {"file": ("s.csv", f"sku,quantity\n{sku},3\n".encode())}, {"mode": "set", "reason": "a count"}
    made = one_shop.as_("manager").post("/inventory/bulk-update", files=files, data=data)
    assert made.status_code == 201, made.text
    for method, end in (("GET", ""), ("GET", "/changes"), ("POST", "/apply"), ("POST", "/revert")):
        path = f"/inventory/bulk-update/{made.json()['id']}{end}"
        assert_problem(one_shop.as_("operator").request(method, path), 404, "unknown-import")
    assert one_shop.level(sku) == (10, 0)


def test_a_key_is_looked_up_by_its_hash(one_shop: Shop) -> None:
    """Nothing is compared with a key, so no time tells how much of a guess was right: only digests are kept."""
    keys = one_shop.running.services.keys
    assert all(isinstance(digest, bytes) and len(digest) == 32 for digest in keys._callers)
    good = KEYS["admin"]
    for guess in (good[:-1] + "x", "x" + good[1:], good + "x", good.upper(), good[:24]):
        answer = one_shop.as_("nobody").get("/admin/keys", headers={"authorization": f"Bearer {guess}"})
        assert_problem(answer, 401, "unauthenticated")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every log line from now on, at level debug, as the service writes them."""
    root = logging.getLogger()
    handlers, level, stream = root.handlers[:], root.level, io.StringIO()
    configure_logs("api-1", level="debug", form="json", stream=stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def test_no_secret_leaves_by_a_log_or_an_answer(shop: Shop, log: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key in every place where somebody may put it by mistake, on good, refused, malformed and failing requests."""
    made = shop.as_("admin").post("/admin/keys", json={"name": "leaky", "role": "admin"}).json()
    key = made["key"]
    hook = shop.as_("admin").post("/admin/webhooks", json={"url": "https://203.0.113.9/x", "events": ["stock.low"]})
    secrets = [key, *KEYS.values(), *([hook.json()["secret"]] if hook.status_code == 201 else [])]
    answers: list[httpx.Response] = []
    client = shop.as_("nobody")
    paths = ["/inventory/reserve", "/inventory/reserve/x", "/inventory/products", "/admin/keys", "/admin/webhooks",
             "/inventory/bulk-update", "/nothing"]  # fmt: skip
    good = {"authorization": f"Bearer {key}"}
    for path in paths:
        for method in ("GET", "POST", "DELETE", "PUT"):
            for headers in (good, {"authorization": f"Basic {key}"}, {"authorization": f"Bearer {key} x"}, {}):
                answers.append(client.request(method, path, headers=headers, content=b"{"))
        answers.append(client.get(path, headers=good, params={"cursor": key, "key": key, "q": "\x00"}))
        answers.append(client.get(f"{path.partition('?')[0]}/{key}", headers={}))
        answers.append(client.post(path, headers={**good, "idempotency-key": "x" * 300}, json={"key": key, key: 1}))

    def fail(*_: Any) -> None:
        raise RuntimeError(
            f"with Bearer {key}, redis://u:{key}@host and {KEYS['admin']}"[:200].replace(KEYS["admin"], "")
        )

    sku = shop.sku()
    with monkeypatch.context() as broken:
        broken.setattr("api.routes.products.products.page", fail, raising=False)
        broken.setattr("api.hot.respond.reservation_json", fail)
        body = {"customer_id": "ann", "sku": sku, "quantity": 1}
        failed = client.post("/inventory/reserve", headers=good, json=body)
        assert_problem(failed, 500, "internal-error")
        answers.append(failed)
    assert '"request failed"' in log.getvalue()
    assert "RuntimeError" in log.getvalue()
    shown = log.getvalue() + "".join(f"{answer.headers}{answer.text}" for answer in answers)
    assert "Traceback" not in "".join(answer.text for answer in answers)
    for secret in secrets:
        assert secret not in shown
    client.delete(f"/admin/keys/{made['id']}", headers=good)
