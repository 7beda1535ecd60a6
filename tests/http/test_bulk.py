"""Bulk imports over HTTP: preview, apply, revert; whose they are; how they are refused."""

from __future__ import annotations

import io
import threading
from typing import Any

import httpx
import psycopg
import pytest
import xlsxwriter

from persistence.database_url import psycopg_url
from tests.http.conftest import Shop, assert_problem

BULK = "/inventory/bulk-update"


def upload(
    shop: Shop,
    content: str | bytes,
    mode: str = "set",
    *,
    name: str = "stock.csv",
    who: str = "operator",
    reason: str = "spring count",
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    data = content.encode() if isinstance(content, str) else content
    return shop.as_(who).post(
        BULK, files={"file": (name, data)}, data={"mode": mode, "reason": reason}, headers=headers
    )


def previewed(shop: Shop, content: str | bytes, mode: str = "set", **more: Any) -> dict[str, Any]:
    answer = upload(shop, content, mode, **more)
    assert answer.status_code == 201, answer.text
    preview: dict[str, Any] = answer.json()
    assert preview["status"] == "PREVIEW"
    return preview


def step(shop: Shop, preview: dict[str, Any], verb: str, who: str = "operator", **params: str) -> httpx.Response:
    return shop.as_(who).post(f"{BULK}/{preview['id']}/{verb}", params=params)


def stock_file(*rows: tuple[str, object], header: str = "sku,quantity") -> str:
    return "\n".join([header, *(f"{sku},{quantity}" for sku, quantity in rows)]) + "\n"


def movements(shop: Shop, sku: str) -> list[tuple[str, int, int, str, str, str, str]]:
    """The ledger of a SKU without its opening stock, oldest first."""
    rows = shop.as_("auditor").get(f"/inventory/transactions/{sku}").json()["items"][::-1]
    return [
        (
            row["transaction_type"], row["quantity"], row["new_stock"], row["reference_type"], row["reference_id"],
            row["created_by"], row["reason"],
        )
        for row in rows
        if row["reference_type"] != "Product"
    ]  # fmt: skip


class TestSet:
    def test_preview_apply_and_revert(self, one_shop: Shop) -> None:
        more, less, same = one_shop.sku(10), one_shop.sku(10), one_shop.sku(10)
        before = one_shop.journal_seq()
        preview = previewed(one_shop, stock_file((more, 25), (less, 3), (same, 10)))
        assert (preview["rows"], preview["valid"], preview["changed"], preview["errors"]) == (3, 3, 2, [])
        assert preview["changes"] == [
            {"row": 2, "sku": more, "current": 10, "new": 25, "delta": 15, "note": None},
            {"row": 3, "sku": less, "current": 10, "new": 3, "delta": -7, "note": None},
        ]
        assert preview["expires_at"] > preview["created_at"]
        assert one_shop.journal_seq() == before

        applied = step(one_shop, preview, "apply")
        assert applied.status_code == 200, applied.text
        assert (applied.json()["status"], applied.json()["transactions"]) == ("APPLIED", 2)
        assert [one_shop.level(sku)[0] for sku in (more, less, same)] == [25, 3, 10]
        row = ("Import", preview["id"], "operator", "spring count")
        assert movements(one_shop, more) == [("ADJUSTMENT", 15, 25, *row)]
        assert movements(one_shop, less) == [("ADJUSTMENT", -7, 3, *row)]
        assert movements(one_shop, same) == []
        assert step(one_shop, preview, "apply").json() == applied.json()
        assert one_shop.journal_seq() == before + 1

        reverted = step(one_shop, preview, "revert")
        assert (reverted.status_code, reverted.json()["status"]) == (200, "REVERTED")
        assert step(one_shop, preview, "revert").json() == reverted.json()
        assert [one_shop.level(sku)[0] for sku in (more, less, same)] == [10, 10, 10]
        assert movements(one_shop, more)[1][:3] == ("ADJUSTMENT", -15, 10)
        assert movements(one_shop, more)[1][6] == "reverted: spring count"
        assert_problem(step(one_shop, preview, "apply"), 409, "import-ended")

    def test_stock_that_moved_since_and_force(self, one_shop: Shop) -> None:
        moved, still, untouched = one_shop.sku(10), one_shop.sku(10), one_shop.sku(10)
        preview = previewed(one_shop, stock_file((moved, 20), (still, 20), (untouched, 10)))
        for sku in (moved, untouched):
            body = {"sku": sku, "kind": "receive", "quantity": 5, "reason": "a delivery"}
            one_shop.as_("operator").post("/inventory/adjust", json=body).raise_for_status()
        problem = assert_problem(step(one_shop, preview, "apply"), 409, "stock-moved")
        assert problem["rows"] == [
            {"row": 2, "sku": moved, "expected": 10, "on_hand": 15},
            {"row": 4, "sku": untouched, "expected": 10, "on_hand": 15},
        ]
        assert [one_shop.level(sku)[0] for sku in (moved, still, untouched)] == [15, 10, 15]
        found = one_shop.as_("operator").get(f"{BULK}/{preview['id']}").json()
        assert (found["status"], found["failure"]["code"]) == ("PREVIEW", "stock-moved")

        forced = step(one_shop, preview, "apply", force="true").json()
        assert (forced["status"], forced["transactions"], forced["failure"]) == ("APPLIED", 3, None)
        assert [one_shop.level(sku)[0] for sku in (moved, still, untouched)] == [20, 20, 10]
        step(one_shop, preview, "revert").raise_for_status()
        assert [one_shop.level(sku)[0] for sku in (moved, still, untouched)] == [15, 10, 15]

    def test_held_stock_is_never_taken(self, one_shop: Shop) -> None:
        held, other = one_shop.sku(10), one_shop.sku(10)
        preview = previewed(one_shop, stock_file((other, 50), (held, 3)))
        reservation = one_shop.reserve(held, 5)
        problem = assert_problem(step(one_shop, preview, "apply"), 409, "insufficient-stock")
        assert [(short["sku"], short["requested"], short["available"]) for short in problem["shortages"]] == [
            (held, 7, 5)
        ]
        assert (one_shop.level(held), one_shop.level(other)) == ((10, 5), (10, 0))
        one_shop.as_("storefront").delete(f"/inventory/reserve/{reservation['id']}").raise_for_status()
        assert step(one_shop, preview, "apply").json()["status"] == "APPLIED"
        assert (one_shop.level(held), one_shop.level(other)) == ((3, 0), (50, 0))

    def test_a_revert_that_the_stock_does_not_allow(self, one_shop: Shop) -> None:
        sold, other = one_shop.sku(0), one_shop.sku(9)
        preview = previewed(one_shop, stock_file((sold, 10), (other, 4)))
        step(one_shop, preview, "apply").raise_for_status()
        reservation = one_shop.reserve(sold, 6)
        assert_problem(step(one_shop, preview, "revert"), 409, "insufficient-stock")
        assert (one_shop.level(sold), one_shop.level(other)) == ((10, 6), (4, 0))
        assert one_shop.as_("operator").get(f"{BULK}/{preview['id']}").json()["status"] == "APPLIED"
        one_shop.as_("storefront").delete(f"/inventory/reserve/{reservation['id']}").raise_for_status()
        assert step(one_shop, preview, "revert").json()["status"] == "REVERTED"
        assert (one_shop.level(sold), one_shop.level(other)) == ((0, 0), (9, 0))

    def test_an_exported_file_changes_nothing(self, one_shop: Shop) -> None:
        sku = one_shop.sku(12)
        header = "sku,name,category,on_hand,reserved,available,low_stock_threshold,status"
        preview = previewed(one_shop, f"{header}\n{sku},Mug,,12,0,12,0,active\n")
        assert (preview["valid"], preview["changed"], preview["changes"]) == (1, 0, [])
        before = one_shop.journal_seq()
        assert step(one_shop, preview, "apply").json()["transactions"] == 0
        assert one_shop.journal_seq() == before


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_there_and_back(one_shop: Shop, kind: str) -> None:
    """What `export` writes, `set` takes, and nothing is changed, whatever the names look like."""
    client = one_shop.as_("operator")
    mark = one_shop.sku(0)
    names = {f"-{mark}": "=1+1", f"{mark}-2": 'quoted "twice", with commas', f"1{mark[2:]}": "\u00fc\u4e2d", mark: "'x"}
    for number, (sku, name) in enumerate(names.items()):
        body = {"name": name, "category": mark, "initial_stock": number}
        client.put(f"/inventory/products/{sku}", json=body).raise_for_status()
    exported = client.get("/inventory/export", params={"format": kind, "category": mark})
    exported.raise_for_status()
    preview = previewed(one_shop, exported.content, name=f"stock.{kind}")
    assert (preview["rows"], preview["valid"], preview["changed"], preview["errors"]) == (4, 4, 0, [])
    again = client.post("/inventory/products/import", files={"file": (f"c.{kind}", exported.content)})
    assert (again.status_code, again.json()["updated"]) == (200, 4), again.text
    assert {sku: client.get(f"/inventory/products/{sku}").json()["name"] for sku in names} == names


class TestAdd:
    def test_what_only_adds_is_a_delivery(self, one_shop: Shop) -> None:
        one, two = one_shop.sku(1), one_shop.sku(2)
        preview = previewed(one_shop, stock_file((one, 5), (two, 0)), "add")
        assert [(change["sku"], change["new"]) for change in preview["changes"]] == [(one, 6)]
        # A delivery is added to whatever there is by then.
        body = {"sku": one, "kind": "receive", "quantity": 10, "reason": "a delivery"}
        one_shop.as_("operator").post("/inventory/adjust", json=body).raise_for_status()
        assert step(one_shop, preview, "apply").json()["transactions"] == 1
        assert movements(one_shop, one)[1][:3] == ("IN", 5, 16)
        step(one_shop, preview, "revert").raise_for_status()
        assert movements(one_shop, one)[2][:3] == ("ADJUSTMENT", -5, 11)

    def test_taking_away(self, one_shop: Shop) -> None:
        one, two = one_shop.sku(10), one_shop.sku(10)
        preview = previewed(one_shop, stock_file((one, 5), (two, -4)), "add")
        step(one_shop, preview, "apply").raise_for_status()
        assert [movements(one_shop, sku)[0][:3] for sku in (one, two)] == [("ADJUSTMENT", 5, 15), ("ADJUSTMENT", -4, 6)]

    def test_more_than_there_is(self, one_shop: Shop) -> None:
        preview = previewed(one_shop, stock_file((one_shop.sku(3), -4)), "add")
        assert [(error["row"], error["code"]) for error in preview["errors"]] == [(2, "out-of-range")]


def test_errors_of_all_rows_at_once_and_nothing_applied(one_shop: Shop) -> None:
    good = one_shop.sku(1)
    preview = previewed(
        one_shop, stock_file((good, 5), ("NO-SUCH", 5), (good, 6), (one_shop.sku(1), "five"), ("NO-SUCH-2", "x"))
    )
    assert [(error["row"], error["column"], error["code"]) for error in preview["errors"]] == [
        (3, "sku", "unknown-sku"),
        (4, "sku", "duplicate-sku"),
        (5, "quantity", "bad-number"),
        (6, "quantity", "bad-number"),
        (6, "sku", "unknown-sku"),
    ]
    assert (preview["rows"], preview["valid"], preview["error_count"]) == (5, 1, 5)
    problem = assert_problem(step(one_shop, preview, "apply"), 409, "preview-has-errors")
    assert problem["errors"] == preview["errors"]
    assert_problem(step(one_shop, preview, "apply", force="true"), 409, "preview-has-errors")
    assert_problem(step(one_shop, preview, "revert"), 409, "import-not-applied")
    assert one_shop.level(good) == (1, 0)


def test_a_number_with_a_separator_in_it_is_no_other_number(one_shop: Shop) -> None:
    first, second, third = one_shop.sku(7), one_shop.sku(7), one_shop.sku(7)
    text = f"sku,quantity,\n{first},5,000\n{second},6,\n{third},8, \n"
    preview = previewed(one_shop, text)
    assert [(error["row"], error["column"], error["code"]) for error in preview["errors"]] == [
        (2, "", "too-many-values")
    ]
    assert (preview["rows"], preview["valid"]) == (3, 2), "empty cells at the end are what spreadsheets write"


def test_a_workbook(one_shop: Shop) -> None:
    one, two = one_shop.sku(1), one_shop.sku(1)
    kept = io.BytesIO()
    with xlsxwriter.Workbook(kept) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, ["SKU", "Remark", "Quantity", "note"])
        sheet.write_row(1, 0, [one, "x", 5, "front shelf"])
        sheet.write_row(3, 0, [two, "x"])
        sheet.write_formula(3, 2, "=4+4", value=8)
    preview = previewed(one_shop, kept.getvalue(), name="Stock.XLSX")
    assert [(c["row"], c["sku"], c["new"], c["note"]) for c in preview["changes"]] == [
        (2, one, 5, "front shelf"),
        (4, two, 8, None),
    ]
    step(one_shop, preview, "apply").raise_for_status()
    assert (one_shop.level(one)[0], one_shop.level(two)[0]) == (5, 8)


class TestWhose:
    def test_an_operator_sees_its_own(self, one_shop: Shop) -> None:
        sku = one_shop.sku(1)
        preview = previewed(one_shop, stock_file((sku, 2)), who="manager")
        nobodys = {"id": "imp_" + "0" * 24}
        for verb in ("apply", "revert"):
            theirs = assert_problem(step(one_shop, preview, verb), 404, "unknown-import")
            assert theirs == assert_problem(step(one_shop, nobodys, verb), 404, "unknown-import")
        for path in (preview["id"], f"{preview['id']}/changes"):
            assert_problem(one_shop.as_("operator").get(f"{BULK}/{path}"), 404, "unknown-import")
            for who in ("auditor", "manager", "admin"):
                assert one_shop.as_(who).get(f"{BULK}/{path}").status_code == 200
        assert preview["id"] not in {
            found["id"] for found in one_shop.as_("operator").get(BULK, params={"limit": "500"}).json()["items"]
        }
        assert one_shop.as_("manager").get(BULK).json()["items"][0]["id"] == preview["id"]
        assert one_shop.level(sku) == (1, 0)

    def test_a_manager_applies_what_an_operator_prepared(self, one_shop: Shop) -> None:
        sku = one_shop.sku(1)
        preview = previewed(one_shop, stock_file((sku, 2)))
        assert step(one_shop, preview, "apply", who="manager").status_code == 200
        assert movements(one_shop, sku)[0][5] == "manager"

    @pytest.mark.parametrize("name", ["imp_", "imp_" + "0" * 23 + "g", "imp_" + "0" * 24 + "x", "%00", "..", "x" * 65])
    def test_ids_that_are_none(self, one_shop: Shop, name: str) -> None:
        answer = one_shop.as_("admin").post(f"{BULK}/{name}/apply")
        assert answer.status_code in {404, 422}


class TestRepeating:
    def test_the_same_upload_under_a_key(self, one_shop: Shop) -> None:
        sku = one_shop.sku(1)
        headers = {"idempotency-key": f"count-{sku}"}
        preview = previewed(one_shop, stock_file((sku, 2)), headers=headers)
        assert previewed(one_shop, stock_file((sku, 2)), headers=headers) == preview
        other = previewed(one_shop, stock_file((sku, 2)), headers=headers, who="manager")
        assert other["id"] != preview["id"]
        for changed in ({"content": stock_file((sku, 3))}, {"mode": "add"}, {"reason": "another count"}):
            asked = {"content": stock_file((sku, 2)), "headers": headers, **changed}
            assert_problem(upload(one_shop, **asked), 422, "idempotency-key-reused")  # type: ignore[arg-type]

    def test_two_applies_at_once_do_it_once(self, one_shop: Shop) -> None:
        sku = one_shop.sku(10)
        preview = previewed(one_shop, stock_file((sku, 4)), "add")
        answers: list[httpx.Response] = []
        applies = [threading.Thread(target=lambda: answers.append(step(one_shop, preview, "apply"))) for _ in range(6)]
        for apply in applies:
            apply.start()
        for apply in applies:
            apply.join()
        assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(200, "APPLIED")] * 6
        assert one_shop.level(sku) == (14, 0)


def test_a_preview_expires(one_shop: Shop) -> None:
    preview = previewed(one_shop, stock_file((one_shop.sku(1), 2)))
    with psycopg.connect(psycopg_url(one_shop.running.database_url)) as connection:
        connection.execute("UPDATE imports SET expires_at = now() WHERE id = %s", (preview["id"],))
    assert one_shop.as_("operator").get(f"{BULK}/{preview['id']}").json()["status"] == "EXPIRED"
    assert_problem(step(one_shop, preview, "apply"), 410, "preview-expired")


def test_many_changes_by_pages(one_shop: Shop) -> None:
    skus = [one_shop.sku(0) for _ in range(503)]
    preview = previewed(one_shop, stock_file(*((sku, 1) for sku in skus)))
    assert len(preview["changes"]) == 500
    path = f"{BULK}/{preview['id']}/changes"
    rest = one_shop.as_("operator").get(path, params={"cursor": preview["changes_next_cursor"]}).json()
    assert [change["row"] for change in rest["items"]] == [502, 503, 504]
    assert rest["next_cursor"] is None
    other = previewed(one_shop, stock_file((skus[0], 1)))
    for cursor in (preview["changes_next_cursor"] + "A", "x"):
        assert_problem(one_shop.as_("operator").get(path, params={"cursor": cursor}), 400, "invalid-cursor")
    answer = one_shop.as_("operator").get(
        f"{BULK}/{other['id']}/changes", params={"cursor": preview["changes_next_cursor"]}
    )
    assert_problem(answer, 400, "invalid-cursor")
