"""One logical call as a series of attempts: what is sent, what is tried again, how long is waited, when it is given up.

Owns that decision for every call, as a generator; never does anything itself (driving.py) and knows no endpoint.

| what came | tried again |
|---|---|
| no connection | always: nothing was sent |
| connection lost, timeout | only what may be repeated: reads, requests by id, requests with an idempotency key |
| 429 `rate-limited`, 503 `overloaded`, `not-ready`, `journal-full` | always: nothing was done |
| any other 503, 502 and 504 of a proxy, 408 | only what may be repeated |
| every other 4xx, 500 | never: the answer would be the same, or nobody knows |
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from holdfast_client.errors import AnswerLost, HoldfastError, NoAnswer, NotConnected, Problem, UnreadableAnswer
from holdfast_client.paths import request_of
from holdfast_client.problems import problem_of_answer
from holdfast_client.steps import Answer, Call, Lost, Open, Opened, Pause, Send, Steps

T = TypeVar("T")

logger = logging.getLogger("holdfast_client")

NOTHING_DONE: Final = frozenset({"rate-limited", "overloaded", "not-ready", "journal-full"})
"""Problems that the service gives before it has begun with the request."""

_PASSING: Final = frozenset({408, 502, 503, 504})
_LEAST_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Retries:
    """How long and how eagerly a call is tried again. Times in seconds.

    The n-th pause is random between 0 and `first_pause_s` x 2^n, at most `longest_pause_s`, so that clients that failed
    together do not come back together; never less than the service's Retry-After.
    """

    deadline_s: float = 30.0
    """Of a logical call with all of its attempts and pauses. 0: one attempt only."""
    first_pause_s: float = 0.1
    longest_pause_s: float = 2.0

    def pause_s(self, failures: int, retry_after_s: float | None, dice: Callable[[], float]) -> float:
        """How long to wait after so many failures. `dice` gives random numbers from 0 to 1."""
        most = min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(failures, 30))
        if retry_after_s is not None:
            return retry_after_s + dice() * self.first_pause_s
        return dice() * most


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client makes its calls. `clock` (monotonic seconds) and `dice` are the only things from outside."""

    clock: Callable[[], float]
    retries: Retries = Retries()
    timeout_s: float = 15.0
    """Of one attempt: longer than the service waits for its ledger (10 s)."""
    dice: Callable[[], float] = random.random


def attempts(call: Call[T], manner: Manner) -> Steps[T]:
    """Make a call until it is answered, refused, or its time is over.

    Raises Problem for what the service answered last, NoAnswer when nothing did, UnreadableAnswer.
    """
    answer: Answer = yield from _settled(call, manner, Send)
    try:
        return call.read(answer)
    except (msgspec.MsgspecError, ValueError) as error:
        raise UnreadableAnswer(f"status {answer.status}: {error}", answer) from error


def opening(call: Call[T], manner: Manner) -> Steps[Opened]:
    """The same for an answer whose body is then taken in pieces, by the effect Read."""
    opened: Opened = yield from _settled(call, manner, Open)
    return opened


def _settled(call: Call[Any], manner: Manner, effect: type[Send] | type[Open]) -> Steps[Any]:
    """Answer for Send, Opened for Open."""
    request = request_of(call)
    retries = manner.retries
    timeout_s = manner.timeout_s if call.timeout_s is None else call.timeout_s
    # A deadline that was meant for short requests must not cut the one attempt at a long one short.
    deadline = manner.clock() + max(retries.deadline_s, call.timeout_s or 0.0)
    failures = 0
    perhaps_done = False
    while True:
        left_s = timeout_s if retries.deadline_s == 0 else deadline - manner.clock()
        outcome: Answer | Opened | Lost = yield effect(request, max(_LEAST_S, min(timeout_s, left_s)))
        if isinstance(outcome, Opened):
            return outcome
        if isinstance(outcome, Answer):
            if outcome.status < 300 or outcome.status in call.also:
                return outcome
            if outcome.status == 404 and call.gone_is_done and perhaps_done:
                return Answer(204, outcome.headers, b"")
        failure, again, retry_after_s = _judge(call, outcome)
        perhaps_done = perhaps_done or _perhaps_done(failure)
        if isinstance(failure, NotConnected) and perhaps_done:
            # An earlier attempt was sent: what is true of all of them together is that nobody knows.
            failure = AnswerLost(str(failure))
        if isinstance(failure, NoAnswer):
            failure.attempts = failures + 1
        pause_s = retries.pause_s(failures, retry_after_s, manner.dice)
        failures += 1
        if not again or retries.deadline_s == 0 or manner.clock() + pause_s >= deadline:
            raise failure from (outcome.error if isinstance(outcome, Lost) else None)
        logger.debug("%s %s: %s; again in %.2f s", call.method, call.route, failure, pause_s)
        yield Pause(pause_s)


def _judge(call: Call[Any], outcome: Answer | Lost) -> tuple[HoldfastError, bool, float | None]:
    """What to raise for an outcome that is no success, whether to try again, and after how many seconds at least."""
    if isinstance(outcome, Lost):
        text = str(outcome.error) or type(outcome.error).__name__
        if not outcome.sent:
            return NotConnected(text), True, None
        return AnswerLost(text), call.repeatable, None
    problem = problem_of_answer(outcome)
    if problem is None:
        unreadable = UnreadableAnswer(f"status {outcome.status} without a problem document", outcome)
        return unreadable, call.repeatable and outcome.status in _PASSING, None
    if problem.code in NOTHING_DONE:
        return problem, True, problem.retry_after_s
    return problem, call.repeatable and outcome.status in _PASSING, problem.retry_after_s


def _perhaps_done(failure: HoldfastError) -> bool:
    if isinstance(failure, NotConnected):
        return False
    return not (isinstance(failure, Problem) and (failure.code in NOTHING_DONE or failure.status < 500))
