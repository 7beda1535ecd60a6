"""A whole service as Prometheus sees it, and that dashboard, alarms and docs speak of what is really there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.runtime.up_process import Up
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
DASHBOARD = json.loads((ROOT / "observability" / "grafana" / "holdfast.json").read_text())
ALERTS = yaml.safe_load((ROOT / "observability" / "prometheus" / "alerts.yml").read_text())
SCRAPE = yaml.safe_load((ROOT / "observability" / "prometheus" / "prometheus.yml").read_text())
PAGE = (ROOT / "docs" / "observability.md").read_text()

RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
LATER = {"holdfast_reconciliation_"}
"""Families that are there once the first scheduled run is through."""
WORDS = {
    "sum", "min", "max", "by", "or", "rate", "increase", "delta", "changes", "absent", "histogram_quantile", "le",
}  # fmt: skip


def expressions() -> list[str]:
    found = [rule["expr"] for rule in RULES]
    found += [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return found + [one["expr"] for one in DASHBOARD["annotations"]["list"]]


def names_in(expression: str) -> set[str]:
    return set(re.findall(r"\bholdfast_[a-z0-9_]+", expression))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    service = Up(tmp_path_factory.mktemp("observed") / "data", "--workers", "2")
    try:
        service.wait_until_ready()
        with service.client("storefront") as shop:
            body = {"customer_id": "ann", "sku": "no-such", "quantity": 1}
            assert shop.post("/inventory/reserve", json=body).status_code == 404
        yield service
    finally:
        service.stop()


class Scrape:
    """One look at /metrics, over a connection of its own: any of the processes may answer."""

    def __init__(self, up: Up) -> None:
        with up.client("storefront") as client:
            answer = client.get("/metrics")
        assert answer.status_code == 200, up.output[-700:]
        self.families = list(text_string_to_metric_families(answer.text))
        self.samples = [sample for family in self.families for sample in family.samples]
        self.names = {sample.name for sample in self.samples}

    def value(self, name: str, **labels: str) -> float:
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def processes(self, name: str) -> set[str]:
        return {sample.labels["process"] for sample in self.samples if sample.name == name}


def complete(up: Up) -> Scrape:
    """A scrape in which every process and the first run of every part are seen."""
    return wait_until(
        lambda: (
            len((found := Scrape(up)).processes("holdfast_engine_queue_depth")) == 2
            and found.value("holdfast_worker_processes") == 1
            and {"holdfast_flusher_up", "holdfast_sweep_lag_seconds", "holdfast_job_healthy"} <= found.names
            and found
        ),
        60,
        "every process is on the page",
    )


@pytest.mark.timeout(240)
def test_one_address_answers_for_every_process(up: Up) -> None:
    office = up.client("admin")
    office.put("/inventory/products/mug", json={"name": "Mug", "initial_stock": 500}).raise_for_status()
    asked = 24
    for _ in range(asked):
        # A connection each, so that both processes have their share.
        with up.client("storefront") as shop:
            shop.post("/inventory/reserve", json={"customer_id": "ann", "sku": "mug", "quantity": 1}).raise_for_status()
    complete(up)
    for _ in range(6):
        found = wait_until(
            lambda: (
                (s := Scrape(up)).value("holdfast_http_requests_total", endpoint="reserve", status="201") == asked and s
            ),
            30,
            "every answer is counted, whichever process is asked",
        )
        assert found.value("holdfast_engine_commands_total", command="reserve", status="ok") == asked
        assert found.processes("holdfast_engine_queue_depth") == {"api-1", "api-2"}
        assert found.value("holdfast_api_processes") == 2
        assert found.value("holdfast_holds_live") == asked
        assert found.value("holdfast_flusher_up") == 1
    wait_until(lambda: Scrape(up).value("holdfast_ledger_rows_total") >= 1, 30, "the worker's counters are there")
    ready = office.get("/readyz").json()
    assert (ready["status"], ready["obstacles"], ready["degraded"]) == ("ready", [], [])
    office.close()


def test_every_metric_that_dashboard_and_alarms_use_is_on_the_page(up: Up) -> None:
    found = complete(up)
    for expression in expressions():
        for name in names_in(expression):
            there = name in found.names or any(name.startswith(prefix) for prefix in LATER)
            assert there, f"{name} in {expression}"


def test_every_label_and_value_that_is_chosen_exists(up: Up) -> None:
    found = complete(up)
    for expression in expressions():
        for name, selector in re.findall(r"(holdfast_[a-z0-9_]+)\{([^}]*)\}", expression):
            for label, how, wanted in re.findall(r'(\w+)(=~|=)"([^"]*)"', selector):
                values = {sample.labels.get(label) for sample in found.samples if sample.name == name}
                assert values - {None}, f"{name} has no label {label}"
                if how == "=" and label == "part":
                    assert wanted in values
        for label in re.findall(r"\bby \((\w+)\)", expression):
            if label != "le":
                assert any(label in s.labels for s in found.samples if s.name in names_in(expression)) or any(
                    name.startswith(tuple(LATER)) for name in names_in(expression)
                ), expression


def test_expressions_are_balanced_and_made_of_known_words() -> None:
    for expression in expressions():
        assert expression.count("(") == expression.count(")"), expression
        assert expression.count("{") == expression.count("}"), expression
        bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|holdfast_[a-z0-9_]+|\bby \([a-z_]+\)', " ", expression)
        assert set(re.findall(r"[a-z_]+", bare)) <= WORDS, expression


def test_every_alarm_says_what_it_is_and_where_its_runbook_stands() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", PAGE, re.MULTILINE)}
    for rule in RULES:
        assert rule["alert"].startswith("Holdfast")
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/observability.md"
        assert anchor == rule["alert"].lower()
        assert anchor in headings, f"no runbook for {rule['alert']}"
    assert headings == {rule["alert"].lower() for rule in RULES}, "a runbook without an alarm"


def test_the_dashboard_is_whole() -> None:
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["targets"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(set(places)) == len(places), "two panels lie on each other"
    assert SCRAPE["rule_files"] == ["alerts.yml"]


def test_the_docs_list_every_metric_and_no_other(up: Up) -> None:
    table = PAGE.partition("## Every metric")[2].partition("\n## ")[0]
    listed = set(re.findall(r"^\| `(holdfast_[a-z0-9_]+)`", table, re.MULTILINE))
    found = {family.name + ("_total" if family.type == "counter" else "") for family in complete(up).families}
    late = {name for name in listed if any(name.startswith(prefix) for prefix in LATER)}
    assert len(late) == 3
    assert listed - late == found - late
