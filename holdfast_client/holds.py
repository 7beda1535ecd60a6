"""A hold as a `with` block: stock is reserved when it begins, and given back when it ends without a confirm.

Owns the life of one hold in one program. A hold that outlives a request (a cart) is `client.reserve` and its id.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Final, Self

import anyio

from holdfast_client.answers.shop import Reservation
from holdfast_client.asking import Asking, Lines
from holdfast_client.driving import Async, Sync, operation
from holdfast_client.errors import HoldfastError
from holdfast_client.operations.reservations import Durability, amend_call, confirm_call, release_call
from holdfast_client.refusals import ReservationEnded
from holdfast_client.retrying import Manner, attempts
from holdfast_client.steps import Call, Steps

logger = logging.getLogger("holdfast_client")

RELEASE_S: Final = 5.0
"""How long the end of a block tries to give a hold back. What it cannot give back ends by itself, at its deadline."""


class HoldVerbs(Asking):
    """What can be done with a hold, for both kinds of blocks."""

    def __init__(self, manner: Manner, reserve: Call[Reservation]) -> None:
        self._manner = manner
        self._reserve = reserve
        self._reservation: Reservation | None = None

    @property
    def reservation(self) -> Reservation:
        """As the service last told it. Raises RuntimeError before the block has begun."""
        if self._reservation is None:
            raise RuntimeError("a hold begins with its `with` block")
        return self._reservation

    @property
    def id(self) -> str:
        """Of the reservation."""
        return self.reservation.id

    @property
    def is_active(self) -> bool:
        """Whether it still holds stock, as far as is known: its deadline may have passed since."""
        return self.reservation.status == "ACTIVE"

    @operation
    def confirm(self, order_id: str | None = None, *, durability: Durability | None = None) -> Steps[Reservation]:
        """Turn the hold into a sale; the end of the block then leaves it alone. Raises ReservationExpired."""
        return (yield from self._tell(confirm_call(self.id, order_id, durability)))

    @operation
    def amend(self, lines: Lines, *, ttl_s: int | None = None) -> Steps[Reservation]:
        """Give it a whole new set of lines. Raises InsufficientStock (it stays as it was), ReservationExpired."""
        return (yield from self._tell(amend_call(self.id, lines, ttl_s)))

    @operation
    def extend(self, ttl_s: int) -> Steps[Reservation]:
        """Let it last `ttl_s` seconds from now. Raises ReservationExpired."""
        return (yield from self._tell(amend_call(self.id, None, ttl_s)))

    @operation
    def release(self) -> Steps[Reservation]:
        """Give it back now instead of at the end of the block."""
        return (yield from self._tell(release_call(self.id)))

    def _tell(self, call: Call[Reservation]) -> Steps[Reservation]:
        """Make a call about this hold and remember what it told."""
        try:
            self._reservation = yield from self._ask(call)
        except ReservationEnded as ended:
            self._reservation = ended.reservation
            raise
        return self._reservation

    def _begin(self) -> Steps[None]:
        if self._reservation is not None:
            raise RuntimeError("a hold is one `with` block; make another for another")
        self._reservation = yield from self._ask(self._reserve)

    def _end(self) -> Steps[None]:
        """Give it back if it is active. Never raises a HoldfastError: the block's own outcome is what counts."""
        if self._reservation is None or not self.is_active:
            return
        retries = replace(self._manner.retries, deadline_s=min(RELEASE_S, self._manner.retries.deadline_s))
        manner = replace(self._manner, retries=retries, timeout_s=min(RELEASE_S, self._manner.timeout_s))
        try:
            self._reservation = yield from attempts(release_call(self.id), manner)
        except ReservationEnded as ended:
            # By its deadline, or by a confirm whose answer was lost: this is how that is found out.
            self._reservation = ended.reservation
        except HoldfastError as error:
            self._not_released(str(error))

    def _not_released(self, why: str) -> None:
        logger.warning(
            "hold %s was not released (%s); it ends by itself at %s", self.id, why, self.reservation.expires_at
        )


class Hold(HoldVerbs, Sync):
    """`with client.hold(...) as hold:`."""

    def __enter__(self) -> Self:
        self._run(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._end())


class AsyncHold(HoldVerbs, Async):
    """`async with client.hold(...) as hold:`."""

    async def __aenter__(self) -> Self:
        await self._run(self._begin())
        return self

    async def __aexit__(self, *_: object) -> None:
        # Also when the task is being cancelled: units that nobody will buy should not wait for their deadline.
        with anyio.move_on_after(2 * RELEASE_S, shield=True) as patience:
            await self._run(self._end())
        if patience.cancelled_caught:
            # It may have waited for a connection as long as for its answer; nobody else would ever tell of it.
            self._not_released("not answered in time")
