"""POST /inventory/reserve/batch: what is waited for when the answers of one request come from two epochs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from api.hot.batch import _Collection
from engine.errors import OutcomeUnknown
from engine.results import Reply
from tests.engine.calls import holding


def _waited_for(monkeypatch: pytest.MonkeyPatch, *replies: Any) -> tuple[int, int]:
    """(epoch, seq) that the answer waits for when the items get these replies."""
    monkeypatch.setattr("api.hot.batch.reservation_answer", lambda *_: ("{}", False))
    waits: list[tuple[int, int]] = []

    def finish(_: Any, status: int, body: bytes, epoch: int, seq: int, *, ledger: bool) -> None:
        assert (status, ledger) == (200, True)
        waits.append((epoch, seq))

    hot: Any = SimpleNamespace(finish=finish, waits_for_ledger=True)
    exchange: Any = SimpleNamespace(endpoint=SimpleNamespace(count_refused=lambda *_: None))
    collection = _Collection(hot, exchange, len(replies))
    body: Any = None
    for position, reply in enumerate(replies):
        collection.on_reply(position, body)(holding(), reply)
    (wait,) = waits
    return wait


def _ok(epoch: int, seq: int) -> Reply:
    return Reply("ok", (), 1_800_000_000_000, seq, epoch)


def test_the_last_event_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _waited_for(monkeypatch, _ok(2, 7), _ok(2, 9), _ok(2, 8)) == (2, 9)


def test_what_was_promised_in_an_epoch_that_has_ended_is_not_looked_for_in_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That one will reach the number as well, and say nothing about the event."""
    assert _waited_for(monkeypatch, _ok(1, 5), _ok(2, 7)) == (1, 5)
    assert _waited_for(monkeypatch, _ok(2, 7), _ok(1, 5), _ok(2, 9)) == (1, 5)
    assert _waited_for(monkeypatch, _ok(1, 5), OutcomeUnknown("the epoch ended before the answer came")) == (1, 5)
