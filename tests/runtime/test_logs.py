"""Log lines: ids on each, no secret on any, whatever way it came in."""

from __future__ import annotations

import io
import json
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from runtime.logs import Redactor, configure_logs
from runtime.process_main import secrets_of
from runtime.settings import load_settings

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


HOSTILE = "zX9-hunter2-q"
"""Never to be seen, however it was wrapped."""


@pytest.mark.parametrize(
    "text",
    [
        "redis://user:{}@host:6379/0", "redis://:{}@host", "rediss://u:a@b{}@host/0", "redis://u:a/{}@host/0",
        "postgresql+psycopg://u:{}@host/db?x=1", "postgresql://u@/db?host=/x&password={}", "smtp://u:{}@mail:25",
        "host=/x password={} user=u", "password='{} with spaces' host=x", "connect(password={})",
        "Authorization: Bearer {}", "authorization:bearer   {}", "Authorization: Basic {}", "AUTHORIZATION={}",
        "headers: [(b'authorization', b'Bearer {}')]", "{{'Authorization': 'Bearer {}', 'a': 1}}",
        '{{"password": "{}", "a": 1}}', "{{'api_key': '{}'}}", '{{\\"token\\": \\"{}\\"}}', "GET /x?key={}&a=1",
        "GET /x?a=1&token={}", "Cookie: {}", "https://u:{}@hook.example/path",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["json", "console"])
def test_hostile_values(stream: io.StringIO, form: Any, text: str) -> None:
    configure_logs("api-1", form=form, level="debug", stream=stream)
    secret = text.format(HOSTILE)
    log = structlog.stdlib.get_logger("holdfast")
    log.info(secret)
    log.info("field", value=secret, nested={"a": [{"b": (secret,)}], secret: 1}, raw=secret.encode())
    try:
        try:
            raise ValueError(secret)
        except ValueError as error:
            raise RuntimeError(f"because of {secret}") from error
    except RuntimeError:
        log.exception("failed", error=ValueError(secret))
    written = stream.getvalue()
    assert written.count("failed") == 1
    assert HOSTILE not in written


@pytest.mark.parametrize(
    "name",
    ["uvicorn", "uvicorn.error", "uvicorn.access", "rq", "rq.worker", "rq.job", "rq_scheduler.scheduler", "alembic",
     "alembic.runtime.migration", "sqlalchemy.engine.Engine", "sqlalchemy.pool", "psycopg", "redis", "httpx", "asyncio",
     "anyone.else"],
)  # fmt: skip
def test_whoever_logs(
    stream: io.StringIO, name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries that bring handlers of their own included: nothing goes past ours."""
    from rq.logutils import setup_loghandlers

    configure_logs("jobs", form="json", level="debug", stream=stream)
    setup_loghandlers("DEBUG", name="rq.worker")
    log = logging.getLogger(name)
    # Another test of this process may have quietened it.
    monkeypatch.setattr(log, "level", logging.NOTSET)
    monkeypatch.setattr(log, "_cache", {})
    log.error("%s is not %s", f"Bearer {SECRET}", f"redis://u:{HOSTILE}@host")
    try:
        raise RuntimeError(f"with redis://u:{HOSTILE}@host and {SECRET}")
    except RuntimeError:
        log.exception("failed")
    out, err = capfd.readouterr()
    written = stream.getvalue()
    assert "failed" in written
    for secret in (SECRET, HOSTILE):
        assert secret not in written + out + err


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError(HOSTILE)

    __repr__ = __str__


def test_a_line_that_cannot_be_written_tells_nothing(stream: io.StringIO, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logs("api-1", form="json", stream=stream)
    logging.getLogger("any").error("%d units", f"Bearer {SECRET}")
    logging.getLogger("any").error("two %s", "of", f"redis://u:{HOSTILE}@host")  # noqa: PLE1205 - the point
    structlog.stdlib.get_logger().error("value", value=Unshowable(), deep=[[[[[[[[[[f"Bearer {SECRET}"]]]]]]]]]])
    loop: list[Any] = [f"Bearer {SECRET}"]
    loop.append(loop)
    structlog.stdlib.get_logger().error("itself", value=loop)
    out, err = capfd.readouterr()
    written = stream.getvalue()
    assert written.count("could not be written") == 2
    assert "that cannot be shown" in written
    assert '"event": "itself"' in written
    for secret in (SECRET, HOSTILE):
        assert secret not in written + out + err


def test_a_thread_that_dies(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    configure_logs("api-1", form="json", stream=stream)

    def fail() -> None:
        raise RuntimeError(f"redis://u:{HOSTILE}@host")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    out, err = capfd.readouterr()
    assert "a thread ended by an error" in stream.getvalue()
    assert HOSTILE not in stream.getvalue() + out + err


def test_passwords_of_the_settings_are_known_by_value() -> None:
    settings = load_settings(
        redis_url=SecretStr("redis://u:red%40is-pw-1@h/0"),
        database_url=SecretStr("postgresql://u@/db?host=/x&password=postgres-pw"),
        smtp_url=SecretStr("smtp://u:mail-pw-123@h"),
        alert_mail_from="a@b.example", alert_mail_to="c@d.example",
    )  # fmt: skip
    redact = Redactor(secrets_of(settings)).text
    for secret in ("red%40is-pw-1", "red@is-pw-1", "postgres-pw", "mail-pw-123"):
        assert redact(f"see: <{secret}>") == "see: <***>"


def test_what_is_no_secret_stays() -> None:
    redact = Redactor().text
    for text in ("the idempotency_key=cart-17 came again", "https://shop.example:8443/a?b=c",
                 "redis_key={h00}:stock", "unix:///run/redis.sock?db=1", "no password for user x"):  # fmt: skip
        assert redact(text) == text
