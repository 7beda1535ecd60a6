"""`holdfast import` against a running service: what it shows, asks and does, and how it ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from runtime.cli import app
from runtime.commands.session import Session
from runtime.throwaway_service import ServiceAddress, throwaway_service


@pytest.fixture
def shop(serve: Callable[..., ServiceAddress], tmp_path: Path) -> Shop:
    return Shop(serve(), tmp_path)


class Shop:
    """A service and a folder of files to import."""

    def __init__(self, address: ServiceAddress, folder: Path) -> None:
        self.address = address
        self.folder = folder
        self.http = httpx.Client(
            base_url=address.url, headers={"authorization": f"Bearer {address.admin_key}"}, trust_env=False
        )

    def file(self, text: str, name: str = "file.csv") -> str:
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def run(self, *options: str, answer: str = "") -> Result:
        environment = {"HOLDFAST_URL": self.address.url, "HOLDFAST_API_KEY": self.address.admin_key}
        return CliRunner().invoke(app, ["import", *options], input=answer, env=environment)

    def on_hand(self, sku: str) -> int:
        return int(self.http.get(f"/inventory/{sku}/status").json()["on_hand"])


def test_a_catalogue_then_a_count_then_back(shop: Shop) -> None:
    catalogue = shop.file("sku,name,category,initial_stock\nMUG,Red mug,kitchen,10\nPOT,Teapot,kitchen,5\n")
    done = shop.run(catalogue, "--catalog", "--yes")
    assert done.exit_code == 0, done.output
    assert "2 products made" in done.stdout
    assert shop.on_hand("MUG") == 10
    assert "0 products made, 2 changed" in shop.run(catalogue, "--catalog", "--yes").stdout

    count = shop.file("sku,quantity\nMUG,7\nPOT,5\n")
    done = shop.run(count, "--reason", "a count", "--yes")
    assert done.exit_code == 0, done.output
    assert "MUG" in done.stderr
    assert "-3" in done.stderr
    assert "POT" not in done.stderr
    assert (shop.on_hand("MUG"), shop.on_hand("POT")) == (7, 5)
    import_id = done.stdout.split()[-1]
    done = shop.run("--revert", import_id)
    assert (done.exit_code, shop.on_hand("MUG")) == (0, 10), done.output
    assert shop.run(count, "--mode", "add", "--reason", "a delivery", "--yes").exit_code == 0
    assert (shop.on_hand("MUG"), shop.on_hand("POT")) == (17, 10)


def test_what_is_wrong_is_shown_and_nothing_done(shop: Shop) -> None:
    bad = shop.run(shop.file("sku,name\nMUG,\n-[red],x\n"), "--catalog", "--yes")
    assert bad.exit_code == 1
    assert "bad-text" in bad.stderr
    assert shop.http.get("/inventory/products").json()["items"] == []
    shop.run(shop.file("sku,name,initial_stock\nMUG,Mug,10\n"), "--catalog", "--yes")
    bad = shop.run(shop.file("sku,quantity\nMUG,x\nNO[b]NE,5\n"), "--reason", "a count", "--yes")
    assert bad.exit_code == 1
    assert "bad-number" in bad.stderr
    assert "unknown-sku" in bad.stderr
    held = shop.http.post("/inventory/reserve", json={"customer_id": "ann", "sku": "MUG", "quantity": 8})
    assert held.status_code == 201
    short = shop.run(shop.file("sku,quantity\nMUG,3\n"), "--reason", "a count", "--yes")
    assert short.exit_code == 1
    assert "insufficient-stock" in short.stderr
    assert shop.on_hand("MUG") == 10


def test_nobody_agrees(shop: Shop) -> None:
    shop.run(shop.file("sku,name,initial_stock\nMUG,Mug,10\n"), "--catalog", "--yes")
    done = shop.run(shop.file("sku,quantity\nMUG,3\n"), "--reason", "a count")
    assert done.exit_code == 2
    assert "--yes" in done.stderr
    assert shop.on_hand("MUG") == 10


@pytest.mark.parametrize(
    "options",
    [
        (), ("FILE", "--revert", "imp_x"), ("FILE",), ("FILE", "--reason", "ab"),
        ("nowhere.csv", "--reason", "a count"), ("FILE", "--reason", "a count", "--mode", "all"),
    ],
)  # fmt: skip
def test_what_cannot_be_done(shop: Shop, options: tuple[str, ...]) -> None:
    file = shop.file("sku,quantity\nMUG,3\n")
    done = shop.run(*(file if option == "FILE" else option for option in options))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert "holdfast: " in done.stderr or "--mode" in done.stderr


def test_stock_that_moved_can_be_forced(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.run(shop.file("sku,name,initial_stock\nMUG,Mug,10\n"), "--catalog", "--yes")
    agreed = Session.agreed

    def moved_before(session: Session, question: str, yes: bool) -> None:
        body = {"sku": "MUG", "kind": "receive", "quantity": 1, "reason": "a delivery"}
        shop.http.post("/inventory/adjust", json=body).raise_for_status()
        agreed(session, question, yes)

    monkeypatch.setattr(Session, "agreed", moved_before)
    count = shop.file("sku,quantity\nMUG,3\n")
    refused = shop.run(count, "--reason", "a count", "--yes")
    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert shop.on_hand("MUG") == 11
    assert shop.run(count, "--reason", "a count", "--yes", "--force").exit_code == 0
    assert shop.on_hand("MUG") == 3


def test_by_the_job_process_of_a_whole_service(tmp_path: Path) -> None:
    """With no rows done in the request: file, preview, changes and revert all go through the queue and back."""
    with throwaway_service(extra={"HOLDFAST_IMPORT_INLINE_ROWS": "0"}) as address:
        shop = Shop(address, tmp_path)
        rows = 1_500
        names = "".join(f"K-{number},Thing {number},5\n" for number in range(rows))
        made = shop.run(shop.file("sku,name,initial_stock\n" + names), "--catalog", "--yes")
        assert made.exit_code == 0, made.output
        count = shop.file("sku,quantity\n" + "".join(f"K-{number},{number % 9}\n" for number in range(rows)))
        done = shop.run(count, "--reason", "a count", "--yes")
        assert done.exit_code == 0, done.output
        assert [shop.on_hand(f"K-{number}") for number in (0, 8, 1_499)] == [0, 8, 5]
        done = shop.run("--revert", done.stdout.split()[-1])
        assert done.exit_code == 0, done.output
        assert {shop.on_hand(f"K-{number}") for number in (0, 8, 1_499)} == {5}
