"""`holdfast export`: a whole file under its name, or the old one left as it was."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from python_calamine import CalamineWorkbook
from typer.testing import CliRunner, Result

from engine.errors import Disconnected
from runtime.cli import app
from runtime.throwaway_service import ServiceAddress
from tests.http.running import KEYS


@pytest.fixture
def service(serve: Callable[..., ServiceAddress]) -> ServiceAddress:
    address = serve()
    headers = {"authorization": f"Bearer {address.admin_key}"}
    with httpx.Client(base_url=address.url, headers=headers, trust_env=False) as client:
        for number, sku in enumerate(("CUP", "MUG", "TEAPOT")):
            body = {"name": sku.title(), "category": "a" if number else "b", "initial_stock": number}
            client.put(f"/inventory/products/{sku}", json=body).raise_for_status()
    return address


def export(service: ServiceAddress, *arguments: object, key: str = "auditor") -> Result:
    environment = {"HOLDFAST_ADMIN_KEY": KEYS[key]}
    return CliRunner().invoke(app, ["export", *map(str, arguments), "--url", service.url], env=environment)


def test_csv_and_xlsx(service: ServiceAddress, tmp_path: Path) -> None:
    result = export(service, tmp_path / "stock.csv")
    assert result.exit_code == 0, result.output
    assert "stock.csv" in result.output
    with (tmp_path / "stock.csv").open(newline="") as file:
        assert [(row["sku"], row["on_hand"]) for row in csv.DictReader(file)] == [
            ("CUP", "0"),
            ("MUG", "1"),
            ("TEAPOT", "2"),
        ]
    assert export(service, tmp_path / "stock.XLSX", "--category", "a", "--min-available", "2").exit_code == 0
    sheet = CalamineWorkbook.from_path(tmp_path / "stock.XLSX").get_sheet_by_index(0).to_python()
    assert [row[0] for row in sheet[1:]] == ["TEAPOT"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stock.XLSX", "stock.csv"]


@pytest.mark.parametrize(
    ("name", "arguments", "key", "code", "says"),
    [
        ("stock.txt", (), "auditor", 2, "must end in .csv or .xlsx"),
        ("stock.csv", ("--status", "LOST"), "auditor", 2, "--status"),
        ("stock.csv", ("--category", "a\nb"), "auditor", 1, "validation-error"),
        ("stock.csv", (), "storefront", 1, "forbidden"),
        ("nowhere/stock.csv", (), "auditor", 2, "No such file"),
    ],
    ids=["name", "filter", "text", "role", "folder"],
)
def test_what_is_refused(
    service: ServiceAddress, tmp_path: Path, name: str, arguments: tuple[str, ...], key: str, code: int, says: str
) -> None:
    (tmp_path / "stock.csv").write_text("as it was")
    result = export(service, tmp_path / name, *arguments, key=key)
    assert result.exit_code == code
    assert says in " ".join(result.output.split())
    assert (tmp_path / "stock.csv").read_text() == "as it was"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_service_that_breaks_off(service: ServiceAddress, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine import Engine
    from inventory import export as rows

    real, calls = Engine.stock_levels, []

    async def breaks(self: Engine, skus: Any = None) -> Any:
        calls.append(skus)
        if len(calls) > 1:
            raise Disconnected("gone")
        return await real(self, skus)

    monkeypatch.setattr(rows, "PIECE", 1)
    monkeypatch.setattr(Engine, "stock_levels", breaks)
    (tmp_path / "stock.csv").write_text("as it was")
    result = export(service, tmp_path / "stock.csv")
    assert result.exit_code == 3
    assert "did not answer to the end" in result.output
    assert (tmp_path / "stock.csv").read_text() == "as it was"
    assert len(list(tmp_path.iterdir())) == 1


def test_nobody_there(tmp_path: Path) -> None:
    nobody = ServiceAddress("http://127.0.0.1:9", KEYS["admin"], KEYS["storefront"])
    result = export(nobody, tmp_path / "stock.csv")
    assert result.exit_code == 3
    assert "cannot be reached" in result.output
