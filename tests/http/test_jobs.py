"""/admin/jobs and what metrics tell of jobs."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from inventory.context import InventorySettings
from runtime.jobs_redis import next_database
from tests.http.conftest import Shop, assert_problem
from tests.http.running import RunningService
from worker.jobs.context import JobSettings
from worker.jobs.registry import JOBS
from worker.jobs.running import Outcome, run_job
from worker.jobs.timetable import Timetable


def run(service: RunningService, name: str, **arguments: str) -> Outcome:
    settings = JobSettings(
        redis_url=service.redis_url,
        jobs_url=next_database(service.redis_url),
        database_url=service.database_url,
        inventory=InventorySettings(ledger_timeout_s=30.0),
    )
    return asyncio.run(run_job(settings, JOBS, name, arguments, uuid.uuid4().hex))


def job_of(client: httpx.Client, name: str) -> dict[str, object]:
    (found,) = [job for job in client.get("/admin/jobs").json()["items"] if job["name"] == name]
    return found


def gauge(client: httpx.Client, name: str, job: str) -> float | None:
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            if sample.name == name and sample.labels.get("task") == job:
                return sample.value
    return None


def test_every_job_is_listed_with_its_last_run(make_service: Callable[..., RunningService]) -> None:
    service = make_service()
    shop = Shop(service, "protocol")
    auditor = shop.as_("auditor")
    listed = auditor.get("/admin/jobs").json()
    assert [job["name"] for job in listed["items"]] == [kind.name for kind in JOBS.kinds]
    assert {job["health"] for job in listed["items"]} == {"never ran"}
    assert listed["queue_reachable"] is True

    timetable = Timetable(next_database(service.redis_url), JOBS.kinds)
    timetable.declare()
    timetable.close()
    assert run(service, "records.forget").status == "ok"
    job = job_of(auditor, "records.forget")
    assert (job["health"], job["schedule"]) == ("ok", "30 3 * * *")
    assert str(job["next_run_at"]).endswith("Z")
    runs = auditor.get("/admin/jobs/records.forget/runs").json()["items"]
    assert runs == [job["last_run"]]
    assert runs[0]["status"] == "ok"
    assert runs[0]["result"].startswith("forgot 0 reservations")
    assert runs[0]["duration_ms"] >= 0
    assert gauge(auditor, "holdfast_job_healthy", "records.forget") == 1.0
    assert gauge(auditor, "holdfast_job_last_duration_seconds", "records.forget") is not None
    shop.close()


def test_a_job_that_failed_is_unhealthy(make_service: Callable[..., RunningService]) -> None:
    service = make_service()
    shop = Shop(service, "protocol")
    auditor = shop.as_("auditor")
    outcome = run(service, "records.forget", nonsense="yes")
    assert outcome.status == "failed"
    job = job_of(auditor, "records.forget")
    assert job["health"] == "failed"
    assert "nonsense" in job["last_run"]["result"]  # type: ignore[index]
    assert gauge(auditor, "holdfast_job_healthy", "records.forget") == 0.0
    assert gauge(auditor, "holdfast_job_healthy", "holds.leftover") == 1.0
    shop.close()


def test_an_unknown_job(one_shop: Shop) -> None:
    assert_problem(one_shop.as_("auditor").get("/admin/jobs/none.such/runs"), 404, "unknown-job")
    assert_problem(one_shop.as_("auditor").get("/admin/jobs/records.forget/runs?limit=0"), 422, "validation-error")
