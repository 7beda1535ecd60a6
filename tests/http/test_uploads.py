"""Uploads of every kind but the good one; catalogue files; large files, which a background job works on."""

from __future__ import annotations

import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import httpx
import psycopg
import pytest

from api.services import ApiSettings
from inventory.context import InventorySettings
from inventory.job_queue import JobQueue
from persistence.database_url import psycopg_url
from tests.http.conftest import Shop, assert_problem
from tests.http.running import KEYS, RunningService
from tests.http.test_bulk import BULK, previewed, step, stock_file, upload
from tests.inventory.bulk.workbooks import broken_stream, cell, far_away, row, sheet, workbook
from tests.waiting import wait_until
from worker.jobs.context import JobContext, JobSettings
from worker.jobs.registry import JOBS

PRODUCTS = "/inventory/products/import"


class TestForms:
    @pytest.mark.parametrize(
        ("data", "at"),
        [
            ({"reason": "a count"}, "mode"), ({"mode": "both", "reason": "a count"}, "mode"),
            ({"mode": "set"}, "$.reason"), ({"mode": "set", "reason": "ab"}, "$.reason"),
            ({"mode": "set", "reason": "x" * 501}, "reason"), ({"mode": "set", "reason": "a\x00b"}, "$.reason"),
            ({"mode": "set", "reason": "a count", "force": "1"}, "force"),
        ],
    )  # fmt: skip
    def test_fields(self, one_shop: Shop, data: dict[str, str], at: str) -> None:
        answer = one_shop.as_("operator").post(BULK, files={"file": ("s.csv", b"sku,quantity\n")}, data=data)
        assert assert_problem(answer, 422, "validation-error")["errors"][0]["at"] == at

    def test_a_form_without_a_good_file(self, one_shop: Shop) -> None:
        client = one_shop.as_("operator")
        data = {"mode": "set", "reason": "a count"}
        assert_problem(client.post(BULK, files={"other": ("s.csv", b"x")}, data=data), 422, "validation-error")
        assert_problem(client.post(BULK, files={"file": (None, b"x")}, data=data), 422, "validation-error")
        assert_problem(
            client.post(BULK, files={"file": ("x" * 256 + ".csv", b"x")}, data=data), 422, "validation-error"
        )
        two = [("file", ("s.csv", b"sku\n")), ("file", ("t.csv", b"sku\n"))]
        assert_problem(client.post(BULK, files=two, data=data), 400, "invalid-request")
        many = {f"f{n}": "x" for n in range(20)}
        assert_problem(client.post(BULK, files={"file": ("s.csv", b"x")}, data=many), 400, "invalid-request")
        long = {**data, "reason": "x" * 10_000}
        assert_problem(client.post(BULK, files={"file": ("s.csv", b"x")}, data=long), 400, "invalid-request")

    @pytest.mark.parametrize("media", ["application/json", "text/csv", "application/x-www-form-urlencoded", ""])
    def test_what_is_no_form(self, one_shop: Shop, media: str) -> None:
        answer = one_shop.as_("operator").post(BULK, content=b"sku,quantity\n", headers={"content-type": media})
        assert_problem(answer, 415, "unsupported-media-type")

    @pytest.mark.parametrize(
        "media", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=x"]
    )
    def test_broken_forms(self, one_shop: Shop, media: str) -> None:
        answer = one_shop.as_("operator").post(BULK, content=b"--y\r\nno\r\n", headers={"content-type": media})
        assert answer.status_code in {400, 422}
        assert answer.json()["code"] in {"invalid-request", "validation-error"}

    @pytest.mark.parametrize(
        "charset", ["unicode_escape", "punycode", "undefined", "idna", "hex", "utf-16", "nonsense"]
    )
    def test_forms_in_other_codecs(self, one_shop: Shop, charset: str) -> None:
        part = '--B\r\ncontent-disposition: form-data; name="{}"\r\n\r\n{}\r\n'
        body = part.format("\\ud800", "x") + part.format("mode", "\\ud800") + "--B--\r\n"
        headers = {"content-type": f"multipart/form-data; boundary=B; charset={charset}"}
        client = one_shop.as_("operator")
        for path in (BULK, PRODUCTS):
            answer = client.post(path, content=body.encode(), headers=headers)
            assert_problem(answer, 415, "unsupported-media-type")
        headers = {"content-type": "multipart/form-data; boundary=B; charset=UTF-8"}
        assert_problem(client.post(BULK, content=body.encode(), headers=headers), 422, "validation-error")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("stock.txt", b"sku,quantity\n"),
        ("stock.csv", b"PK\x03\x04"),
        ("stock.xlsx", b"sku,quantity\n"),
        ("stock.xlsx", workbook(sheet(" " * 40_000_000))),
        ("stock.xlsx", workbook('<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + sheet())),
        ("stock.xlsx", workbook(sheet(row(1, cell("A1", "1")), row(1_000_000, cell("XFD1000000", "1"))))),
        ("stock.xlsx", broken_stream(workbook(sheet(), method=zipfile.ZIP_LZMA))),
        ("stock.xlsx", workbook(sheet(), method=zipfile.ZIP_BZIP2)),
        ("stock.xlsx", far_away(workbook(sheet()))),
    ],
    ids=["name", "zip as csv", "csv as xlsx", "bomb", "entity", "span", "lzma", "bzip2", "far away"],
)
def test_files_that_are_refused(one_shop: Shop, name: str, content: bytes) -> None:
    assert_problem(upload(one_shop, content, name=name), 422, "unsupported-file")
    assert_problem(one_shop.as_("operator").post(PRODUCTS, files={"file": (name, content)}), 422, "unsupported-file")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", [(1, "missing-column"), (1, "missing-column")]),
        ("sku\nA\n", [(1, "missing-column")]),
        ("quantity\n5\n", [(1, "missing-column")]),
        ("sku,quantity,Quantity\nA,5,6\n", [(1, "duplicate-column")]),
        ("sku,quantity\n", []),
        ("sku,quantity\n,5\n", [(2, "unknown-sku")]),
        ("sku,quantity\n{x}:*\r\n,5", [(2, "bad-number"), (2, "unknown-sku"), (3, "unknown-sku")]),
        (b"sku,quantity\nA\xff,5\n", [(2, "bad-encoding")]),
        ('sku,quantity\nA,"5\n', [(2, "bad-csv")]),
        ("sku,quantity,note\n'; DROP TABLE imports; --,5,x\n", [(2, "unknown-sku")]),
    ],
)
def test_files_with_errors(one_shop: Shop, content: str | bytes, found: list[tuple[int, str]]) -> None:
    preview = previewed(one_shop, content)
    assert sorted((error["row"], error["code"]) for error in preview["errors"]) == found
    if found:
        assert_problem(step(one_shop, preview, "apply"), 409, "preview-has-errors")


class TestCatalogue:
    def test_made_then_changed(self, one_shop: Shop) -> None:
        sku = one_shop.sku(5).replace("T-", "N-")
        client = one_shop.as_("operator")

        def put(text: str, **params: str) -> httpx.Response:
            return client.post(PRODUCTS, files={"file": ("c.csv", text.encode())}, params=params)

        text = f"SKU,Name,category,safety_stock,initial_stock\n{sku},Red mug,mugs,2,7\n"
        tried = put(text, dry_run="true").json()
        assert (tried["applied"], tried["rows"], tried["created"]) == (False, 1, 1)
        assert_problem(client.get(f"/inventory/products/{sku}"), 404, "unknown-sku")
        assert put(text).json() == {**tried, "applied": True}
        assert one_shop.level(sku) == (7, 0)
        changed = put(f"sku,name,status,category,initial_stock\n{sku},Blue mug,INACTIVE,,99\n").json()
        assert (changed["created"], changed["updated"]) == (0, 1)
        product = client.get(f"/inventory/products/{sku}").json()
        assert (product["name"], product["category"], product["safety_stock"], product["status"]) == (
            "Blue mug", "mugs", 2, "inactive",
        )  # fmt: skip
        assert one_shop.level(sku) == (7, 0)

    def test_one_bad_row_and_nothing_is_done(self, one_shop: Shop) -> None:
        text = "sku,name,status,low_stock_threshold\nN-9,Mug,,\nN-8,,asleep,-1\nN-9,Again,,\n"
        answer = one_shop.as_("operator").post(PRODUCTS, files={"file": ("c.csv", text.encode())})
        problem = assert_problem(answer, 409, "preview-has-errors")
        assert [(error["row"], error["column"], error["code"]) for error in problem["errors"]] == [
            (3, "name", "bad-text"), (3, "low_stock_threshold", "bad-number"), (3, "status", "bad-status"),
            (4, "sku", "duplicate-sku"),
        ]  # fmt: skip
        assert_problem(one_shop.as_("operator").get("/inventory/products/N-9"), 404, "unknown-sku")

    def test_a_name_with_a_comma_in_it_needs_quotes(self, one_shop: Shop) -> None:
        text = 'sku,name,category\nN-7,"Mug, red",mugs\nN-6,Mug, red,mugs\n'
        answer = one_shop.as_("operator").post(PRODUCTS, files={"file": ("c.csv", text.encode())})
        problem = assert_problem(answer, 409, "preview-has-errors")
        assert [(error["row"], error["column"], error["code"]) for error in problem["errors"]] == [
            (3, "", "too-many-values")
        ]


@pytest.fixture
def small_limits(make_service: Callable[..., RunningService]) -> Iterator[Shop]:
    """A service that takes 300 KB and 60 rows, and does files of more than 20 rows in the background."""
    running = make_service(
        ApiSettings(ledger_timeout_s=20.0, max_upload_bytes=300_000, import_wait_s=10.0),
        None,
        InventorySettings(ledger_timeout_s=20.0, import_max_rows=60, import_inline_rows=20),
    )
    shop = Shop(running, "protocol")
    yield shop
    shop.close()


def test_too_large_and_never_ending_uploads(small_limits: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_problem(upload(small_limits, b"x" * 400_000), 413, "payload-too-large")
    JobsHere(small_limits, monkeypatch)
    assert_problem(upload(small_limits, stock_file(*(("A", 1),) * 70)), 413, "too-many-rows")

    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="s.csv"\r\n\r\n'
        while True:
            sent += 65_536
            yield b"A,5\n" * 16_384

    for who, status in (("operator", 413), ("auditor", 403), ("nobody", 401)):
        headers = {"content-type": "multipart/form-data; boundary=b"}
        try:
            answer = small_limits.as_(who).post(BULK, content=endless(), headers=headers)
        except (httpx.WriteError, httpx.ReadError):
            # The service has answered and closed; a client that goes on writing may never see the answer.
            continue
        assert answer.status_code == status
    # What lingers of each, and what stands in sockets; without an end it would be gigabytes.
    assert sent < 200_000_000


def test_an_upload_that_is_broken_off(small_limits: Shop) -> None:
    before = small_limits.as_("admin").get(BULK).json()
    with socket.create_connection(("127.0.0.1", small_limits.running.ports["protocol"])) as connection:
        connection.sendall(
            f"POST {BULK} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEYS['admin']}\r\ncontent-length: 5000\r\n"
            "content-type: multipart/form-data; boundary=b\r\n\r\n--b\r\n".encode()
        )
    assert small_limits.as_("admin").get(BULK).json() == before
    assert small_limits.as_("admin").get("/healthz").status_code == 200


class JobsHere:
    """Takes the jobs that the service asks for, and runs them in its loop once it is told to."""

    def __init__(self, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.shop = shop
        self.at_once = True
        jobs = self

        async def enqueue(queue: JobQueue, job: str, **arguments: Any) -> bool:
            jobs.asked.append((job, arguments))
            if jobs.at_once:
                threading.Thread(target=jobs.run).start()
            return True

        monkeypatch.setattr(JobQueue, "enqueue", enqueue)

    def run(self) -> None:
        services = self.shop.running.services
        settings = JobSettings(redis_url="", jobs_url="", database_url="")
        context = JobContext(services.inventory, services.jobs, settings)
        while self.asked:
            self.shop.running.run(partial(JOBS.run, context, *self.asked.pop()))


def test_a_large_file_is_done_by_a_job(small_limits: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = JobsHere(small_limits, monkeypatch)
    skus = [small_limits.sku(10) for _ in range(40)]
    preview = previewed(small_limits, stock_file(*((sku, 15) for sku in skus)))
    assert (preview["rows"], preview["changed"], len(preview["changes"])) == (40, 40, 40)
    applied = step(small_limits, preview, "apply")
    assert (applied.status_code, applied.json()["status"], applied.json()["transactions"]) == (200, "APPLIED", 40)

    jobs.at_once = False
    client = small_limits.as_("operator")
    path = f"{BULK}/{preview['id']}"
    for _ in range(2):
        answer = client.post(f"{path}/revert", headers={"prefer": "respond-async"})
        assert (answer.status_code, answer.json()["status"], answer.json()["progress"]) == (202, "REVERTING", 0.0)
    assert_problem(client.post(f"{path}/apply", headers={"prefer": "wait=0"}), 409, "import-not-ready")
    jobs.run()
    assert client.get(path).json()["status"] == "REVERTED"
    assert {small_limits.level(sku) for sku in skus} == {(10, 0)}


def test_a_ledger_that_is_late(make_service: Callable[..., RunningService]) -> None:
    """503, and what was begun is finished by asking again: once."""
    running = make_service(ApiSettings(ledger_timeout_s=0.3), None, InventorySettings(ledger_timeout_s=0.3))
    shop = Shop(running, "protocol")
    try:
        sku = shop.sku(10)
        preview = previewed(shop, stock_file((sku, 4)), "add")
        running.stop_flusher()
        assert_problem(step(shop, preview, "apply"), 503, "durability-unknown")
        assert_problem(step(shop, preview, "revert"), 409, "import-not-ready")
        running.start_flusher()
        wait_until(lambda: step(shop, preview, "apply").status_code == 200)
        assert shop.level(sku) == (14, 0)
    finally:
        shop.close()


def test_a_large_file_that_cannot_be_read(small_limits: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = JobsHere(small_limits, monkeypatch)
    rows = [row(n, cell(f"A{n}", "&e;", "str"), cell(f"B{n}", "5" * 300)) for n in range(1, 50)]
    broken = workbook(sheet(*rows))
    assert_problem(upload(small_limits, broken, name="s.xlsx"), 422, "unsupported-file")
    jobs.at_once = False
    answer = upload(small_limits, broken, name="s.xlsx", headers={"prefer": "respond-async"})
    assert (answer.status_code, answer.json()["status"]) == (201, "PREVIEWING")
    assert_problem(step(small_limits, answer.json(), "apply"), 409, "import-not-ready")
    jobs.run()
    found = small_limits.as_("operator").get(f"{BULK}/{answer.json()['id']}").json()
    assert (found["status"], found["failure"]["code"]) == ("FAILED", "unsupported-file")
    assert_problem(step(small_limits, answer.json(), "apply"), 422, "unsupported-file")
    with psycopg.connect(psycopg_url(small_limits.running.database_url)) as connection:
        assert connection.execute("SELECT count(*) FROM import_files").fetchall() == [(0,)]
