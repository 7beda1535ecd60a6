"""A job process with jobs made for tests: `python -m tests.worker.job_process_main`, its settings as JSON on stdin.

The jobs leave traces in files, so that a test sees them whatever became of the process.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from inventory.job_queue import JobKind
from runtime.logs import configure_logs
from worker.jobs.context import JobContext, JobSettings
from worker.jobs.process import JobProcess
from worker.jobs.registry import RegisteredJob, Registry


def write(path: str, text: str) -> None:
    with Path(path).open("a") as file:
        file.write(f"{text}\n")


def is_there(path: str) -> bool:
    return Path(path).exists()


async def note(context: JobContext, path: str, text: str = "done", **more: str | int) -> str:
    write(path, text)
    return f"noted {text} {more or ''}".strip()


async def fail(context: JobContext, path: str) -> str:
    await note(context, path, "tried")
    raise RuntimeError("it went wrong:\nover two lines")


async def hang(context: JobContext, path: str) -> str:
    """Says which process it is, and ends when there is a file `path`.end."""
    await note(context, path, str(os.getpid()))
    while not is_there(f"{path}.end"):  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    await note(context, path, "ended")
    return "ended"


async def tick(context: JobContext) -> str:
    return await note(context, os.environ["TICKS"], str(os.getpid()))


JOBS = Registry(
    (
        RegisteredJob(JobKind(name="test.note", description="Writes a line"), note),
        RegisteredJob(JobKind(name="test.fail", description="Fails", retry_after_s=(1,)), fail),
        RegisteredJob(JobKind(name="test.hang", description="Waits", timeout_s=60, lane="long"), hang),
        RegisteredJob(JobKind(name="test.slow", description="Takes too long", timeout_s=1), hang),
        RegisteredJob(JobKind(name="test.tick", description="Each second", schedule=1), tick),
        RegisteredJob(JobKind(name="test.yearly", description="Hardly ever", schedule="0 0 1 1 *"), tick),
    )
)


def main() -> None:
    configure_logs("jobs", form="json")
    settings = msgspec.json.decode(sys.stdin.buffer.read(), type=JobSettings)
    JobProcess(settings, JOBS).run(lambda: print("ready", flush=True))


if __name__ == "__main__":
    main()
