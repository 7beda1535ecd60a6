"""What is tried again, when, and for how long: the decisions alone, with a clock and dice of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from holdfast_client import (
    AnswerLost,
    InternalError,
    JournalFull,
    LedgerUnavailable,
    NotConnected,
    OutcomeUnknown,
    Overloaded,
    Problem,
    RateLimited,
    Retries,
    UnknownKey,
    UnknownReservation,
    UnreadableAnswer,
)
from holdfast_client.retrying import NOTHING_DONE, Manner, attempts
from holdfast_client.steps import Answer, Call, Lost, Pause, Send
from tests.client.driving import KINDS, open_client

CUT = Lost(httpx.ReadError("cut"), sent=True)
REFUSED = Lost(httpx.ConnectError("refused"), sent=False)


def good() -> Answer:
    return Answer(200, {}, b"fine")


def problem(code: str, status: int, retry_after: str | None = None) -> Answer:
    headers = {} if retry_after is None else {"retry-after": retry_after}
    return Answer(status, headers, msgspec.json.encode({"code": code, "status": status, "title": code}))


def call(**more: Any) -> Call[str]:
    return Call("/x", "POST", lambda answer: answer.body.decode(), headers={"idempotency-key": "k"}, **more)


@dataclass
class World:
    """What comes of each attempt, a clock that only pauses and timeouts move, and what was seen."""

    outcomes: list[Answer | Lost]
    retries: Retries = field(default_factory=Retries)
    dice: float = 0.5
    now_s: float = 1000.0
    sent: list[Send] = field(default_factory=list)
    pauses: list[float] = field(default_factory=list)

    def make(self, asked: Call[str]) -> str:
        steps = attempts(asked, Manner(lambda: self.now_s, self.retries, 15.0, lambda: self.dice))
        outcome: Any = None
        while True:
            try:
                effect = steps.send(outcome)
            except StopIteration as end:
                return str(end.value)
            if isinstance(effect, Pause):
                self.pauses.append(effect.seconds)
                self.now_s += effect.seconds
                outcome = None
            else:
                assert isinstance(effect, Send)
                self.sent.append(effect)
                outcome = self.outcomes[min(len(self.sent), len(self.outcomes)) - 1]


def test_the_same_request_each_time() -> None:
    world = World([CUT, CUT, good()])
    assert world.make(call(body={"a": 1})) == "fine"
    assert all(send.request == world.sent[0].request for send in world.sent)
    assert len(world.sent) == 3


AGAIN_ALWAYS = [REFUSED, *(problem(code, 503) for code in ("overloaded", "not-ready", "journal-full")),
                problem("rate-limited", 429)]  # fmt: skip
AGAIN_IF_REPEATABLE = [
    CUT,
    problem("outcome-unknown", 503),
    problem("durability-unknown", 503),
    problem("store-unavailable", 503),
    problem("ledger-unavailable", 503),
    problem("of-tomorrow", 503),
    problem("request-timeout", 408),
    Answer(502, {}, b"<html>bad gateway"),
    Answer(503, {}, b""),
    Answer(504, {}, b"timeout"),
]
NEVER = [
    problem("insufficient-stock", 409),
    problem("validation-error", 422),
    problem("unknown-sku", 404),
    problem("unauthenticated", 401),
    problem("reservation-expired", 410),
    problem("internal-error", 500),
    Answer(500, {}, b"oh"),
    Answer(404, {}, b"<html>"),
    Answer(302, {"location": "http://elsewhere"}, b""),
]


def names(outcomes: list[Any]) -> list[str]:
    return [str(getattr(one, "body", one))[:60] for one in outcomes]


@pytest.mark.parametrize("outcome", AGAIN_ALWAYS, ids=names(AGAIN_ALWAYS))
@pytest.mark.parametrize("repeatable", [True, False])
def test_where_nothing_was_done_everything_is_tried_again(outcome: Answer | Lost, repeatable: bool) -> None:
    world = World([outcome, good()])
    assert world.make(call(repeatable=repeatable)) == "fine"
    assert len(world.sent) == 2


@pytest.mark.parametrize("outcome", AGAIN_IF_REPEATABLE, ids=names(AGAIN_IF_REPEATABLE))
def test_where_it_may_have_been_done_only_what_may_be_repeated_is(outcome: Answer | Lost) -> None:
    world = World([outcome, good()])
    assert world.make(call()) == "fine"
    world = World([outcome, good()])
    with pytest.raises((Problem, AnswerLost, UnreadableAnswer)):
        world.make(call(repeatable=False))
    assert len(world.sent) == 1


@pytest.mark.parametrize("outcome", NEVER, ids=names(NEVER))
def test_refusals_and_mistakes_are_final(outcome: Answer) -> None:
    world = World([outcome, good()])
    with pytest.raises((Problem, UnreadableAnswer)):
        world.make(call())
    assert len(world.sent) == 1
    assert world.pauses == []


def test_pauses_double_up_to_a_bound_and_are_random_below_it() -> None:
    retries = Retries(deadline_s=100, first_pause_s=0.1, longest_pause_s=1.0)
    world = World([CUT] * 6 + [good()], retries, dice=1.0)
    world.make(call())
    assert world.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    world = World([CUT] * 3 + [good()], retries, dice=0.25)
    world.make(call())
    assert world.pauses == pytest.approx([0.025, 0.05, 0.1])


def test_never_sooner_than_the_service_asks() -> None:
    world = World([problem("overloaded", 503, "7"), problem("rate-limited", 429, "3"), good()], dice=0.0)
    world.make(call())
    assert world.pauses == [7.0, 3.0]
    # A date, or nonsense, is left to the back-off.
    world = World([problem("overloaded", 503, "Wed, 21 Oct 2026 07:28:00 GMT"), good()], dice=1.0)
    world.make(call())
    assert world.pauses == [0.1]


def test_given_up_at_the_deadline_with_what_came_last() -> None:
    world = World([CUT, problem("outcome-unknown", 503, "1")], Retries(deadline_s=10))
    with pytest.raises(OutcomeUnknown):
        world.make(call())
    assert world.now_s - 1000 < 10
    # No attempt is given more time than is left.
    assert all(send.timeout_s <= 10 for send in world.sent)
    assert world.sent[-1].timeout_s < 2


def test_a_wait_longer_than_the_deadline_is_not_waited() -> None:
    world = World([problem("journal-full", 503, "60"), good()], Retries(deadline_s=10))
    with pytest.raises(JournalFull) as full:
        world.make(call())
    assert full.value.retry_after_s == 60
    assert world.pauses == []


def test_one_attempt_only() -> None:
    for outcome, error in ((CUT, AnswerLost), (REFUSED, NotConnected), (problem("overloaded", 503), Overloaded)):
        world = World([outcome, good()], Retries(deadline_s=0))
        with pytest.raises(error):
            world.make(call())
        assert [send.timeout_s for send in world.sent] == [15.0]


def test_a_long_attempt_is_not_cut_short_by_the_deadline() -> None:
    world = World([good()], Retries(deadline_s=10))
    world.make(call(timeout_s=120.0))
    assert world.sent[0].timeout_s == 120.0


def test_not_connected_means_that_no_attempt_was_sent() -> None:
    world = World([REFUSED], Retries(deadline_s=5))
    with pytest.raises(NotConnected) as never:
        world.make(call())
    assert never.value.attempts == len(world.sent) > 1
    world = World([CUT, REFUSED], Retries(deadline_s=5))
    with pytest.raises(AnswerLost):
        world.make(call())


def test_gone_after_an_attempt_that_may_have_done_it_is_done() -> None:
    missing = problem("unknown-key", 404)
    gone = Call("/admin/keys/{}", "DELETE", lambda _: "done", ("k",), gone_is_done=True)
    assert World([CUT, missing]).make(gone) == "done"
    assert World([problem("ledger-unavailable", 503), missing]).make(gone) == "done"
    for before in (REFUSED, problem("overloaded", 503)):
        with pytest.raises(UnknownKey):
            World([before, missing]).make(gone)
    with pytest.raises(UnknownKey):
        World([missing]).make(gone)


def test_an_answer_that_is_not_ours() -> None:
    number: Call[Any] = Call("/x", "GET", lambda answer: msgspec.json.decode(answer.body, type=int))
    with pytest.raises(UnreadableAnswer) as unreadable:
        World([Answer(200, {}, b"<html>")]).make(number)
    assert (unreadable.value.status, unreadable.value.body) == (200, b"<html>")


@pytest.mark.parametrize(
    "body",
    [b'{"code":["x"]}', b'{"code":7}', b'{"code":"x","status":"503"}', b'{"code":"overloaded","title":[]}', b"[]"],
)
@pytest.mark.parametrize("status", [404, 503])
def test_a_document_of_somebody_else(body: bytes, status: int) -> None:
    with pytest.raises(UnreadableAnswer):
        World([Answer(status, {}, body)]).make(call(repeatable=False))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "key", ["a\nb", "a\r\nx: y", " a", "a ", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\x00"], ids=ascii
)
def test_what_no_header_can_carry_is_refused_before_it_is_sent(kind: str, key: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise AssertionError("this was sent")

    with open_client(kind, "http://shop", "k", answer=answer) as client:
        with pytest.raises(ValueError, match="idempotency-key is printable"):
            client.reserve("A", customer_id="ann", idempotency_key=key)
        with pytest.raises(ValueError, match="last-event-id is printable"):
            next(client.events(last_event_id=key))


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_of_dots_leads_nowhere_else(kind: str) -> None:
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.raw_path.decode())
        return httpx.Response(404, json={"code": "unknown-reservation", "status": 404})

    with open_client(kind, "http://shop", "k", answer=answer) as client:
        for name in (".", "..", "a..b", "../x"):
            with pytest.raises(UnknownReservation):
                client.release(name)
    assert asked == [f"/inventory/reserve/{part}" for part in ("%2E", "%2E%2E", "a..b", "..%2Fx")]


def test_what_is_said_to_have_done_nothing_is_so_by_its_class() -> None:
    for code in NOTHING_DONE:
        assert code in {RateLimited.code, Overloaded.code, JournalFull.code, "not-ready"}
    assert LedgerUnavailable.code not in NOTHING_DONE, "a COMMIT may have been on its way"
    assert InternalError.code not in NOTHING_DONE


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_is_made_once_a_logical_call_and_kept_over_its_attempts(kind: str) -> None:
    keys: list[str] = []

    def flaky(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["idempotency-key"])
        if len(keys) % 3:
            raise httpx.ReadError("cut")
        return httpx.Response(422, json={"code": "validation-error", "status": 422})

    retries = Retries(first_pause_s=0.0, longest_pause_s=0.0)
    with open_client(kind, "http://shop", "k", answer=flaky, retries=retries) as client:
        for _ in range(2):
            with pytest.raises(Problem):
                client.reserve("A", customer_id="ann")
    assert keys[0] == keys[1] == keys[2] != keys[3] == keys[4] == keys[5]


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_with_a_newline_or_an_address_that_is_none_is_refused_at_once(kind: str) -> None:
    for url, key in (
        ("http://shop", "a\nb"), ("http://shop", ""), ("shop:80", "k"), ("ftp://shop", "k"),
        ("http://ann:secret@shop", "k"), ("http://shop?a=1", "k"), ("http://shop#a", "k"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"not an address|API key"), open_client(kind, url, key):
            pass


def test_no_repr_shows_the_key() -> None:
    with open_client("sync", "http://shop", "very-secret") as client:
        assert repr(client) == "Client('http://shop')"
