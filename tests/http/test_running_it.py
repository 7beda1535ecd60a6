"""Health, readiness, metrics, and the documents that describe the API."""

from __future__ import annotations

import json
import logging
import re

import msgspec
import pytest
from structlog.testing import capture_logs

from api import openapi
from api.app import create_app
from api.examples import EXAMPLES
from api.hot import decode
from api.problems import KINDS
from api.schemas import shop
from tests.http.conftest import Shop
from tests.waiting import wait_until


def test_alive_and_ready(one_shop: Shop) -> None:
    client = one_shop.as_("nobody")
    assert client.get("/healthz").json() == {"status": "alive"}
    ready = wait_until(lambda: (a := client.get("/readyz")).status_code == 200 and a, what="readiness").json()
    assert (ready["redis"], ready["postgres"], ready["flusher"], ready["epoch"]) == ("ok", "ok", "ok", 1)
    assert ready["journal_lag_events"] >= 0


def test_the_access_log_names_requests_and_no_keys(shop: Shop) -> None:
    from api.services import ApiSettings, Services

    held = shop.reserve(shop.sku())
    services = msgspec.structs.replace(shop.running.services, settings=ApiSettings(access_log=True))
    assert isinstance(services, Services)
    app = create_app(services)
    with capture_logs() as lines:
        shop.running.run(lambda: _ask(app, f"/inventory/reserve/{held['id']}"))
        shop.running.run(lambda: _ask(app, "/inventory/products"))
    assert [(line["event"], line["operation"], line["status"]) for line in lines] == [
        ("request", "read", 401),
        ("request", "list_products", 401),
    ]
    assert lines[0]["reservation_id"] == held["id"]
    assert all(line["request_id"] for line in lines)
    assert "wrong-key" not in str(lines)


async def _ask(app: object, path: str) -> None:
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: object) -> None:
        pass

    headers = [(b"authorization", b"Bearer wrong-key-0123456789-0123456789")]
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
        "root_path": "",
        "asgi": {"version": "3.0"},
    }
    await app(scope, receive, send)  # type: ignore[operator]


class TestOpenApi:
    @pytest.fixture
    def document(self, one_shop: Shop) -> dict[str, object]:
        return one_shop.as_("nobody").get("/openapi.json").json()

    def test_every_reference_leads_somewhere(self, document: dict[str, object]) -> None:
        components = document["components"]["schemas"]  # type: ignore[index]
        text = json.dumps(document)
        for reference in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
            assert reference in components

    def test_every_operation_is_described(self, document: dict[str, object]) -> None:
        for path, operations in document["paths"].items():  # type: ignore[attr-defined]
            for method, operation in operations.items():
                name = f"{method} {path}"
                assert operation["summary"], name
                assert operation["operationId"], name
                if path in {"/metrics", "/healthz", "/readyz"}:
                    continue
                assert operation["security"] == [{"apiKey": []}], name
                assert {"401", "403", "503"} <= set(operation["responses"]), name
                if "requestBody" in operation:
                    assert {"400", "413", "415", "422"} <= set(operation["responses"]), name
                    bodies = operation["requestBody"]["content"].values()
                    assert any(body.get("examples") for body in bodies), name
                good = [status for status in operation["responses"] if status < "300" and status != "204"]
                for status in good:
                    contents = operation["responses"][status]["content"].values()
                    assert any(content.get("examples") for content in contents), name

    def test_examples_fit_their_structs(self) -> None:
        structs = {kind.__name__: kind for kind in openapi._STRUCTS}
        for name, example in EXAMPLES.items():
            if name in structs:
                msgspec.json.decode(json.dumps(example), type=structs[name])
            else:
                assert name in KINDS

    def test_the_schemas_are_those_of_the_structs(self, document: dict[str, object]) -> None:
        components = document["components"]["schemas"]  # type: ignore[index]
        assert components["ReserveBody"]["required"] == ["customer_id"]
        assert components["ReserveBody"]["additionalProperties"] is False
        assert set(components["ReservationView"]["properties"]) == set(shop.ReservationView.__struct_fields__)
        assert components["LineBody"]["properties"]["quantity"]["maximum"] == 10**9
        assert decode.LineBody.__doc__ == components["LineBody"]["description"]


def test_the_docs_page_asks_nobody_else(one_shop: Shop) -> None:
    page = one_shop.as_("nobody").get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in ("/inventory/reserve/batch", "/inventory/adjust", "/admin/keys"):
        assert path in page.text
    for other in ("<script", "//cdn", "@import"):
        assert other not in page.text
    # Addresses may stand there as text (a webhook's example), but nowhere that a browser would follow by itself.
    assert re.search(r"""(=\s*["']?|url\(\s*["']?)(https?:)?//""", page.text) is None
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_uvicorn_itself_logs_no_address(one_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "uvicorn")
    one_shop.as_("nobody").get("/inventory/products?key=do-not-log-me")
    assert "do-not-log-me" not in "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("uvicorn"))
