"""How background jobs stand, as Prometheus reads it: one family a kind of fact, one sample a job.

Owns the names; the judgement of health is inventory/job_report.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import GaugeMetricFamily, Metric

if TYPE_CHECKING:
    from inventory.job_report import JobsReport


def job_families(found: JobsReport) -> list[Metric]:
    """The families of one report."""

    def family(name: str, text: str) -> GaugeMetricFamily:
        # Not `job`: that label is Prometheus' own.
        return GaugeMetricFamily(f"holdfast_job_{name}", text, labels=["task"])

    healthy = family("healthy", "0 when the last run failed, was killed or lost, or the next one is overdue")
    started = family("last_start_timestamp_seconds", "When the last run began")
    overdue = family("overdue", "1 while a run that the schedule wanted has not begun")
    went_well = family("last_success_timestamp_seconds", "When a run last went well")
    took = family("last_duration_seconds", "How long the last run took")
    for job in found.jobs:
        labels = [job.kind.name]
        healthy.add_metric(labels, float(job.healthy))
        overdue.add_metric(labels, float(job.health == "overdue"))
        if job.last_run is not None:
            started.add_metric(labels, job.last_run.started_at.timestamp())
            if job.last_run.ended_at is not None:
                took.add_metric(labels, (job.last_run.ended_at - job.last_run.started_at).total_seconds())
        if job.last_ok_at is not None:
            went_well.add_metric(labels, job.last_ok_at.timestamp())
    reachable = GaugeMetricFamily(
        "holdfast_job_queue_reachable", "0 while the jobs' Redis gives no answer", value=float(found.queue_reachable)
    )
    return [healthy, overdue, started, went_well, took, reachable]
