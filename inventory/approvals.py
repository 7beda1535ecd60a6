"""Large stock changes wait here for a second person: asked for, approved or rejected once, or forgotten in time.

Owns the way of an approval from PENDING to its end, also across crashes. What a change does to the stock is
adjustments.py; when one needs approval is stock_changes.py.

Approving takes three steps under the approval's lock: write down the intent; have the engine make the change under the
identity of the first request; write down the outcome. Whoever meets an intent that was left standing finds out how it
ended before doing anything else, so stock that has moved can never be rejected, nor moved twice.
"""

from __future__ import annotations

import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Final

import structlog
from msgspec import Struct

from engine.errors import HoldfastError, OutcomeUnknown, Unavailable
from engine.results import Status
from inventory import adjustments, refusals
from inventory.adjustments import ChangeKind, Identity, StockChange, committed_rows, refusal_of
from inventory.context import PARTITION
from inventory.events.announcements import announce
from inventory.refusals import Refusal
from persistence.database import DatabaseUnavailable
from persistence.queries import approvals, transactions
from persistence.queries.approval_lock import approval_lock
from persistence.queries.approvals import Approval, ApprovalStatus, WantedApproval

if TYPE_CHECKING:
    from engine.results import Result
    from inventory.context import Inventory
    from persistence.database import Transaction as DatabaseTransaction
    from persistence.queries.transactions import Transaction

EXPIRED_REASON: Final = "nobody decided in time"
SUPERSEDED_REASON: Final = "counted again"
INTERRUPTED_S: Final = 60.0
"""How long an intent stands before the scheduled look takes it for interrupted."""
MOST_A_LOOK: Final = 500
"""Stale requests, or interrupted ones, that one scheduled look takes on."""
MOST_LINES_TOLD: Final = 50
"""Lines of a change that an event carries."""

_log = structlog.get_logger("holdfast.approvals")


class ApprovalLine(Struct, frozen=True):
    """A SKU and its units as asked for."""

    sku: str
    quantity: int


class ApprovalNews(Struct, frozen=True):
    """What `approval.requested` and `approval.decided` carry."""

    id: str
    status: ApprovalStatus
    kind: ChangeKind
    lines: tuple[ApprovalLine, ...]
    """The first of them: a return may have thousands, and every event is carried by everybody who listens."""
    line_count: int
    reference: str | None
    units: int
    reason: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    decided_by: str | None
    decided_at: datetime | None
    decision_reason: str | None


class Decision(Struct, frozen=True):
    """A decided approval, and the ledger rows it made; none unless it was approved."""

    approval: Approval
    transactions: tuple[Transaction, ...] = ()


async def request_approval(
    inventory: Inventory, change: StockChange, identity: Identity, units: int, difference: int | None = None
) -> Approval:
    """Keep the change until somebody decides. Asked for again under the same identity: the approval there is.

    `units`: moved in all; `difference`: of a count, signed. Raises KeyReused, DatabaseUnavailable.
    """
    wanted = WantedApproval(
        id="apr_" + secrets.token_hex(8),
        base=identity.base,
        fingerprint=identity.fingerprint,
        kind=change.kind,
        lines=change.lines,
        reference=change.reference,
        difference=difference,
        units=units,
        reason=change.reason,
        requested_by=change.actor,
        expiry_s=inventory.settings.approval_expiry_s,
    )
    async with inventory.database.transaction() as transaction:
        made = await approvals.request(transaction, wanted)
        if made is not None:
            await announce(transaction, "approval.requested", news_of(made))
            if change.kind == "count":
                await _supersede(transaction, change.lines[0][0], except_id=made.id)
    if made is None:
        made = await asked_before(inventory, identity)
        if made is None:
            raise DatabaseUnavailable("an approval was there and is gone")
    return made


async def asked_before(inventory: Inventory, identity: Identity) -> Approval | None:
    """The approval that this very change was made into before, if it was. Raises KeyReused, DatabaseUnavailable."""
    approval = await approvals.by_base(inventory.database, identity.base)
    if approval is not None and approval.fingerprint != identity.fingerprint:
        raise refusals.KeyReused
    return approval


async def counted_again(inventory: Inventory, sku: str) -> None:
    """A count of `sku` has been made: what earlier ones found too much or too little no longer stands.

    Raises DatabaseUnavailable.
    """
    async with inventory.database.transaction() as transaction:
        await _supersede(transaction, sku)


async def approve(inventory: Inventory, approval_id: str, by: str, reason: str | None = None) -> Decision:
    """Make the change, against the stock of this moment, in the name of key `by`. Again by the same key: the same.

    A Refusal of the change itself (InsufficientStock, ReturnExceedsOrder ...) leaves it PENDING. Raises
    UnknownApproval, SelfApproval, ApprovalDecided, ApprovalExpired; LedgerLate, Unavailable, DatabaseUnavailable, after
    which the same request may be repeated.
    """
    async with approval_lock(inventory.database, approval_id):
        approval = await _settled(inventory, await _open_to(inventory, approval_id, by))
        if approval.status == "PENDING":
            approval = await _approve(inventory, approval, by, reason)
        _check_decision(approval, "APPROVED", by)
    return await decision_of(inventory, approval)


async def reject(inventory: Inventory, approval_id: str, by: str, reason: str | None = None) -> Decision:
    """Turn it down in the name of key `by`. Again by the same key: the same answer. Raises as `approve`."""
    async with approval_lock(inventory.database, approval_id):
        approval = await _settled(inventory, await _open_to(inventory, approval_id, by))
        if approval.status == "PENDING":
            async with inventory.database.transaction() as transaction:
                done = await approvals.rejected(transaction, approval_id, by=by, reason=reason)
                if done is not None:
                    await announce(transaction, "approval.decided", news_of(done))
            approval = done or await _known(inventory, approval_id)
        _check_decision(approval, "REJECTED", by)
    return Decision(approval)


async def decision_of(inventory: Inventory, approval: Approval) -> Decision:
    """The approval with the ledger rows it made. Raises LedgerLate, DatabaseUnavailable."""
    if approval.applied_epoch is None or approval.applied_seq is None:
        return Decision(approval)
    return Decision(approval, await committed_rows(inventory, approval.applied_epoch, approval.applied_seq))


async def find(inventory: Inventory, approval_id: str) -> Decision:
    """One approval, whatever its state; without rows that the ledger does not have yet.

    Raises UnknownApproval, DatabaseUnavailable.
    """
    approval = await _known(inventory, approval_id)
    if approval.applied_epoch is None or approval.applied_seq is None:
        return Decision(approval)
    rows = await transactions.of_event(inventory.database, PARTITION, approval.applied_epoch, approval.applied_seq)
    return Decision(approval, rows)


async def expire_stale(inventory: Inventory) -> int:
    """Write down that time is over for requests that nobody decided; gives how many. Safe to run at any time.

    They could not be approved before this either: expiry is looked at in every decision. Raises DatabaseUnavailable.
    """
    async with inventory.database.transaction() as transaction:
        ended = await approvals.expired(transaction, MOST_A_LOOK, EXPIRED_REASON)
        for approval in ended:
            await announce(transaction, "approval.decided", news_of(approval))
    return len(ended)


async def finish_interrupted(inventory: Inventory, older_than_s: float = INTERRUPTED_S) -> int:
    """Carry approvals to their end that were approved and then interrupted; gives how many came to one.

    Whoever decides about one of them does the same first; this is for those that nobody comes back to. Raises the first
    reason why one is still open, after the others: LedgerLate, HoldfastError; DatabaseUnavailable at once.
    """
    finished, failure = 0, None
    for found in await approvals.interrupted(inventory.database, older_than_s, MOST_A_LOOK):
        async with approval_lock(inventory.database, found.id):
            approval = await _known(inventory, found.id)
            if approval.intent is None:
                continue
            try:
                await _settled(inventory, approval)
                finished += 1
            except (Refusal, HoldfastError) as error:
                # One that cannot be settled yet must not keep the others waiting.
                _log.warning("an interrupted approval is still open", approval=approval.id, reason=repr(error))
                failure = failure or error
    if failure is not None:
        raise failure
    return finished


def news_of(approval: Approval) -> ApprovalNews:
    """The approval as it is told outside."""
    return ApprovalNews(
        id=approval.id,
        status=approval.status,
        kind=approval.kind,
        lines=tuple(ApprovalLine(*line) for line in approval.lines[:MOST_LINES_TOLD]),
        line_count=len(approval.lines),
        reference=approval.reference or None,
        units=approval.units,
        reason=approval.reason,
        requested_by=approval.requested_by,
        requested_at=approval.requested_at,
        expires_at=approval.expires_at,
        decided_by=approval.decided_by,
        decided_at=approval.decided_at,
        decision_reason=approval.decision_reason,
    )


async def _known(inventory: Inventory, approval_id: str) -> Approval:
    approval = await approvals.get(inventory.database, approval_id)
    if approval is None:
        raise refusals.UnknownApproval
    return approval


async def _open_to(inventory: Inventory, approval_id: str, by: str) -> Approval:
    """The approval, if `by` may decide about it at all."""
    approval = await _known(inventory, approval_id)
    if approval.requested_by == by:
        raise refusals.SelfApproval
    return approval


def _check_decision(approval: Approval, wanted: ApprovalStatus, by: str) -> None:
    """Return if this is how `by` wants it decided, and by whom."""
    if approval.status == "EXPIRED":
        raise refusals.ApprovalExpired(approval)
    if approval.status != wanted or approval.decided_by != by:
        raise refusals.ApprovalDecided(approval)


async def _settled(inventory: Inventory, approval: Approval) -> Approval:
    """The approval without an intent whose end is unknown: made after all, or known not to be."""
    if approval.intent is None:
        return approval
    _log.warning("an interrupted approval is carried to its end", approval=approval.id, intent_of=approval.intent.by)
    # The engine forgets with the idempotency window, and with a rebuild; the ledger does not.
    await inventory.caught_up()
    made = await approvals.made_event(inventory.database, approval, *adjustments.ledger_marks(approval.kind))
    if made is not None:
        return await _write_outcome(inventory, approval.id, *made)
    try:
        return await _make(inventory, approval)
    except Refusal as refusal:
        if isinstance(refusal, refusals.LedgerLate):
            raise
        return await _withdrawn(inventory, approval.id)


async def _approve(inventory: Inventory, approval: Approval, by: str, reason: str | None) -> Approval:
    state = await inventory.engine.journal_state()
    intended = await approvals.note_intent(
        inventory.database, approval.id, by=by, reason=reason, epoch=state.epoch, seq=state.seq
    )
    if intended is None:
        return await _known(inventory, approval.id)
    try:
        return await _make(inventory, intended)
    except OutcomeUnknown:
        # It may have been made: the intent stays, and whoever comes next finds out.
        raise
    except (Refusal, Unavailable):
        await _withdrawn(inventory, approval.id)
        raise


async def _make(inventory: Inventory, approval: Approval) -> Approval:
    """Have the engine make the change and write down that it did. Raises the Refusal when it was not made."""
    change = StockChange(
        kind=approval.kind,
        lines=approval.lines,
        reason=approval.reason,
        actor=approval.requested_by,
        reference=approval.reference,
    )
    identity = Identity(approval.base, approval.fingerprint)
    result: Result
    if approval.difference is not None:
        result = await adjustments.execute_difference(inventory, change, identity, approval.difference)
    else:
        result = await adjustments.execute(inventory, change, identity)
    if result.status not in {Status.OK, Status.REPLAYED}:
        raise refusal_of(result)
    return await _write_outcome(inventory, approval.id, result.first_epoch, result.first_seq)


async def _write_outcome(inventory: Inventory, approval_id: str, epoch: int, seq: int) -> Approval:
    async with inventory.database.transaction() as transaction:
        done = await approvals.approved(transaction, approval_id, epoch=epoch, seq=seq)
        if done is not None:
            await announce(transaction, "approval.decided", news_of(done))
    if done is None:
        done = await _known(inventory, approval_id)
        if done.status != "APPROVED":
            # Only a lock lost together with its connection could lead here; nobody may miss it.
            _log.error("stock moved for an approval that is not approved", approval=approval_id, status=done.status)
            raise HoldfastError(f"approval {approval_id} is {done.status}, but its change was made as event {seq}")
    return done


async def _withdrawn(inventory: Inventory, approval_id: str) -> Approval:
    return await approvals.withdraw_intent(inventory.database, approval_id) or await _known(inventory, approval_id)


async def _supersede(transaction: DatabaseTransaction, sku: str, except_id: str = "") -> None:
    for ended in await approvals.superseded_counts(transaction, sku, SUPERSEDED_REASON, except_id=except_id):
        await announce(transaction, "approval.decided", news_of(ended))
