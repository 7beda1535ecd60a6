"""Bad inputs: each with its documented answer, and nothing changed. Over both adapters."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.http.conftest import Shop, assert_problem

RESERVE = "/inventory/reserve"
JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
def _nothing_changes(request: pytest.FixtureRequest) -> Iterator[None]:
    shop: Shop = request.getfixturevalue("shop")
    sku = request.getfixturevalue("sku")
    before = shop.journal_seq(), shop.records(), shop.level(sku)
    yield
    assert (shop.journal_seq(), shop.records(), shop.level(sku)) == before


@pytest.fixture
def sku(shop: Shop) -> str:
    return shop.sku(10)


def send(shop: Shop, content: bytes | str, **headers: str) -> object:
    return shop.as_("storefront").post(RESERVE, content=content, headers={**JSON, **headers})


QUANTITIES = [
    "0", "-1", "-0", "1.5", "1.0", "1e3", "1E0", '"5"', "true", "false", "null", "NaN", "Infinity", "-Infinity",
    str(2**53), str(2**63), str(2**64), "9" * 5000, "-" + "9" * 5000, "1e400", "0." + "0" * 400 + "1", "[1]", "{}",
    '""', '"1"', "1000000001",
]  # fmt: skip


@pytest.mark.parametrize("quantity", QUANTITIES, ids=lambda text: text[:20])
def test_quantities(shop: Shop, sku: str, quantity: str) -> None:
    answer = send(shop, f'{{"customer_id":"ann","sku":"{sku}","quantity":{quantity}}}')
    assert_problem(answer, 422, "validation-error")
    answer = send(shop, f'{{"customer_id":"ann","lines":[{{"sku":"{sku}","quantity":{quantity}}}]}}')
    assert_problem(answer, 422, "validation-error")


@pytest.mark.parametrize("quantity", ["0x10", "01", "1_000", "+1", ".5", "1.", "--1", "'1'", "undefined"])
def test_quantities_that_are_not_even_json(shop: Shop, sku: str, quantity: str) -> None:
    answer = send(shop, f'{{"customer_id":"ann","sku":"{sku}","quantity":{quantity}}}')
    assert_problem(answer, 400, "malformed-json")


@pytest.mark.parametrize("ttl", ["0", "-1", str(10**12), "86401", "1.5", '"60"', "null", "true"])
def test_times_to_live(shop: Shop, sku: str, ttl: str) -> None:
    answer = send(shop, f'{{"customer_id":"ann","sku":"{sku}","quantity":1,"ttl_seconds":{ttl}}}')
    assert_problem(answer, 422, "validation-error")


BAD_SKUS = [
    "", " ", " A", "A ", "A  B", "A\tB", "A\nB", "A\r\nB", "A\x00", "A{h00}", "{h00}:stock", "*", "A=1", "A,B",
    "A=1,B", "é", "e\u0301", "\u202eABC", "\uff21", "A'; DROP TABLE products; --", 'A" .. redis.call("FLUSHALL") .. "',
    "../../etc/passwd", "A/B", "A\\B", "<script>", "x" * 65, "x" * 900_000, "${A}", "%41", "\ufeffA", "A\u00a0B",
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_SKUS, ids=lambda text: ascii(text[:20]))
def test_skus(shop: Shop, sku: str, bad: str) -> None:
    answer = send(shop, json.dumps({"customer_id": "ann", "sku": bad, "quantity": 1}))
    assert_problem(answer, 422, "validation-error")
    lines = [{"sku": sku, "quantity": 1}, {"sku": bad, "quantity": 1}]
    answer = send(shop, json.dumps({"customer_id": "ann", "lines": lines}, ensure_ascii=False).encode())
    assert_problem(answer, 422, "validation-error")


@pytest.mark.parametrize("good", ["A:B", "{", "1e5", "a.b_c-d:e f", "NaN", "nil", "0x10"], ids=str)
def test_skus_that_look_dangerous_are_taken_literally(shop: Shop, sku: str, good: str) -> None:
    answer = send(shop, json.dumps({"customer_id": "ann", "sku": good, "quantity": 1}))
    if good == "{":
        assert_problem(answer, 422, "validation-error")
    else:
        assert assert_problem(answer, 404, "unknown-sku")["skus"] == [good]


@pytest.mark.parametrize("field", ["customer_id", "cart_id"])
@pytest.mark.parametrize("text", ["", "x" * 256, "a\x00b", "a\x1fb", "a\x7fb", "a\x85b", "a\nb"], ids=ascii)
def test_ids_with_control_characters_or_too_long(shop: Shop, sku: str, field: str, text: str) -> None:
    body = {"customer_id": "ann", "sku": sku, "quantity": 1, field: text}
    assert_problem(send(shop, json.dumps(body)), 422, "validation-error")


@pytest.mark.parametrize("escape", ["\\ud800", "\\udfff", "a\\ud800b", "\\udc00\\ud800"])
def test_lone_surrogates(shop: Shop, sku: str, escape: str) -> None:
    for body in (
        f'{{"customer_id":"{escape}","sku":"{sku}","quantity":1}}',
        f'{{"customer_id":"ann","sku":"{escape}","quantity":1}}',
    ):
        assert_problem(send(shop, body), 422, "validation-error")


MALFORMED = [
    b"", b"{", b"}", b"[", b'{"customer_id"', b"{'a':1}", b"\xff\xfe", b'{"customer_id":"\xff"}', b"{}{}", b"{} x",
    b"nope", b"\xef\xbb\xbf{}", b'{"a":1,}', b"[" * 100_000, b'{"a":' * 100_000, b"[" * 100_000 + b"]" * 100_000,
    b'{"customer_id":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "{}".encode("utf-16"),
]  # fmt: skip


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: ascii(body[:20]))
def test_what_is_not_json(shop: Shop, sku: str, body: bytes) -> None:
    assert_problem(send(shop, body), 400, "malformed-json")


@pytest.mark.parametrize("body", ["null", "[]", "5", '"x"', "true", "{}", '{"customer_id":"ann"}'])
def test_json_that_says_nothing(shop: Shop, sku: str, body: str) -> None:
    assert_problem(send(shop, body), 422, "validation-error")


def test_fields_given_twice(shop: Shop, sku: str) -> None:
    for body in (
        f'{{"customer_id":"ann","customer_id":"bob","sku":"{sku}","quantity":1}}',
        f'{{"customer_id":"ann","sku":"{sku}","quantity":1,"quantity":1}}',
        f'{{"customer_id":"ann","sku":"{sku}","quantity":1,"quantit\\u0079":5}}',
        f'{{"customer_id":"a:b","sku":"{sku}","quantity":1,"quantity":1}}',
        f'{{"customer_id":"ann","lines":[{{"sku":"{sku}","sku":"{sku}","quantity":1}}]}}',
    ):
        assert_problem(send(shop, body), 400, "malformed-json")


def test_unknown_fields(shop: Shop, sku: str) -> None:
    for body in (
        {"customer_id": "ann", "sku": sku, "quantity": 1, "colour": "red"},
        {"customer_id": "ann", "sku": sku, "quantity": 1, "idempotency_key": "x"},
        {"customer_id": "ann", "lines": [{"sku": sku, "quantity": 1, "price": 1}]},
        {"customer_id": "ann", "sku": sku, "quantity": 1, "__class__": "x"},
    ):
        assert_problem(send(shop, json.dumps(body)), 422, "validation-error")


def test_both_forms_or_half_of_one(shop: Shop, sku: str) -> None:
    lines = [{"sku": sku, "quantity": 1}]
    for body in (
        {"customer_id": "ann", "sku": sku, "quantity": 1, "lines": lines},
        {"customer_id": "ann", "sku": sku, "lines": lines},
        {"customer_id": "ann", "sku": sku},
        {"customer_id": "ann", "quantity": 1},
        {"customer_id": "ann", "lines": []},
        {"customer_id": "ann", "lines": None},
        {"sku": sku, "quantity": 1},
    ):
        assert_problem(send(shop, json.dumps(body)), 422, "validation-error")


def test_a_sum_past_the_limit(shop: Shop, sku: str) -> None:
    lines = [{"sku": sku, "quantity": 10**9}, {"sku": sku, "quantity": 1}]
    assert_problem(send(shop, json.dumps({"customer_id": "ann", "lines": lines})), 422, "validation-error")


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", "", "json"]
)
def test_other_media_types(shop: Shop, sku: str, media: str) -> None:
    body = json.dumps({"customer_id": "ann", "sku": sku, "quantity": 1})
    assert_problem(send(shop, body, **{"content-type": media}), 415, "unsupported-media-type")


def test_no_media_type_at_all(shop: Shop, sku: str) -> None:
    body = json.dumps({"customer_id": "ann", "sku": sku, "quantity": 1}).encode()
    assert_problem(shop.as_("storefront").post(RESERVE, content=body), 415, "unsupported-media-type")


def test_a_forged_sender_address_changes_nothing(shop: Shop, sku: str) -> None:
    headers = {"x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1", "forwarded": "for=127.0.0.1"}
    assert_problem(shop.as_("nobody").get("/admin/keys", headers=headers), 401, "unauthenticated")


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE"])
def test_methods_that_a_path_does_not_take(shop: Shop, sku: str, method: str) -> None:
    answer = shop.as_("storefront").request(method, RESERVE)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        assert answer.json()["code"] == "method-not-allowed"


def test_methods_of_cold_paths(shop: Shop, sku: str) -> None:
    answer = shop.as_("admin").post("/inventory/products/A", json={})
    assert_problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD, PUT"
    assert shop.as_("admin").head("/inventory/products").status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/inventory", "/inventory/reserve/", "/inventory/reserve//confirm",
             "/inventory/reserve/a/b/c", "/inventory/availability/", "/inventory/availability/a/b",
             "/inventory/reserve/x/confirm/", "//inventory/reserve", "/INVENTORY/RESERVE"]
)  # fmt: skip
def test_paths_that_lead_nowhere(shop: Shop, sku: str, path: str) -> None:
    assert_problem(shop.as_("admin").get(path), 404, "not-found")


def test_sql_and_lua_in_every_text_field(shop: Shop, sku: str) -> None:
    nasty = "'; DROP TABLE products; -- \" .. redis.call('FLUSHALL') .. \" {h00} %s ${x} {{7*7}}"
    client = shop.as_("admin")
    assert client.get("/inventory/reservations", params={"customer_id": nasty}).json()["items"] == []
    assert client.get("/inventory/reservations", params={"order_id": nasty}).json()["items"] == []
    assert client.get("/inventory/transactions", params={"reference_id": nasty}).json()["items"] == []
    assert client.get("/inventory/products", params={"q": nasty}).json()["items"] == []
    assert client.get("/inventory/products", params={"category": nasty}).json()["items"] == []
    assert_problem(client.get(f"/inventory/reserve/{nasty}"), 404, "unknown-reservation")
