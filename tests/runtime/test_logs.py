"""Log lines: ids on each, no secret on any, whatever way it came in."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from runtime.logs import configure_logs

SECRET = "hf_abcdefghijklmnopqrstuvwxyz012345"
GIVEN = "a-bootstrap-key-without-a-prefix"
SIGNING = "whsec_MfKQ9r8GKYqrTwjU/D8ILPZIo2LaLaSw+abcdefghij="


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def _lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_carries_process_level_time_and_the_bound_ids(stream: io.StringIO) -> None:
    configure_logs("api-1", form="json", stream=stream)
    structlog.contextvars.bind_contextvars(request_id="req-1", reservation_id="ab" * 18)
    structlog.stdlib.get_logger("holdfast.api").warning("slow", seconds=2)
    (line,) = _lines(stream)
    assert line["process"] == "api-1"
    assert (line["event"], line["level"], line["seconds"]) == ("slow", "warning", 2)
    assert (line["request_id"], line["reservation_id"]) == ("req-1", "ab" * 18)
    assert line["timestamp"].endswith("Z")


def test_lines_of_the_standard_library_look_the_same(stream: io.StringIO) -> None:
    configure_logs("api-1", form="json", stream=stream)
    logging.getLogger("uvicorn.error").warning("hello %s", "there", extra={"request_id": "req-2"})
    (line,) = _lines(stream)
    assert (line["event"], line["logger"], line["request_id"]) == ("hello there", "uvicorn.error", "req-2")


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_reaches_a_line(stream: io.StringIO, form: Any) -> None:
    configure_logs("api-1", form=form, stream=stream, secrets=[GIVEN])
    log = structlog.stdlib.get_logger("holdfast")
    log.info("call", authorization=f"Bearer {SECRET}", api_key="x1y2z3", password="x1y2z3", key="x1y2z3")
    log.info(f"header was Bearer {SECRET}")
    log.info("text", text=f"key {SECRET} in a sentence", given=f"and {GIVEN}")
    log.info("urls", url="redis://user:x1y2z3@host:6379/0", also="postgresql://u@/db?password=x1y2z3")
    log.info("nested", headers={"Authorization": f"Bearer {SECRET}", "accept": "json"}, items=[f"Bearer {SECRET}"])
    log.info("webhook", made=f"signed with {SIGNING}", struct=("x", SIGNING))
    log.info("bytes", raw=f"Bearer {SECRET}".encode())
    logging.getLogger("other").info("std %s", f"Bearer {SECRET}")
    try:
        raise RuntimeError(f"can't reach redis://user:x1y2z3@host with {GIVEN}")
    except RuntimeError:
        log.exception("failed")
        logging.getLogger("other").exception("failed as well")
    text = stream.getvalue()
    assert text.count("failed") == 2
    assert "Traceback" in text
    for secret in (SECRET, GIVEN, SIGNING.removeprefix("whsec_"), "x1y2z3"):
        assert secret not in text


def test_an_idempotency_key_is_no_secret(stream: io.StringIO) -> None:
    configure_logs("api-1", form="json", stream=stream)
    structlog.stdlib.get_logger().info("replayed", idempotency_key="cart-17")
    assert _lines(stream)[0]["idempotency_key"] == "cart-17"


def test_the_level_is_kept(stream: io.StringIO) -> None:
    configure_logs("api-1", level="warning", form="json", stream=stream)
    structlog.stdlib.get_logger().info("quiet")
    logging.getLogger("any").info("quiet")
    assert stream.getvalue() == ""
