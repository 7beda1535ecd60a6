"""Planted in what is done around the engine: orders, approvals, imports, events, alerts, keys, the sweeper.

Owns these faults; never how one is planted.
"""

from __future__ import annotations

from typing import Final

from tests.planted.faults.fault import fault

ADJUSTMENTS: Final = "inventory/adjustments.py"
APPROVALS: Final = "inventory/approvals.py"

FAULTS: Final = [
    fault(
        "returns without the order's lock",
        "two returns of one order at once do not happen",
        [(ADJUSTMENTS, "async with order_lock(inventory.database, change.reference):", "if order_lock:")],
        ["tests/inventory/stock/test_returns.py"],
    ),
    fault(
        "people approve what they asked for",
        "a manager may do anything",
        [(APPROVALS, "    if approval.requested_by == by:\n        raise refusals.SelfApproval\n", "")],
        ["tests/inventory/stock/test_approvals.py"],
    ),
    fault(
        "an approval is not looked at again",
        "what was right when it was asked for is right",
        [
            (
                APPROVALS,
                "    if approval.difference is not None:\n",
                "    if approval.difference is None and approval.difference:\n",
            )
        ],
        ["tests/inventory/stock/test_approvals.py"],
    ),
    fault(
        "an interrupted approval is made anew",
        "every change gets an identity of its own",
        [
            (
                APPROVALS,
                "    identity = Identity(approval.base, approval.fingerprint)\n",
                "    identity = adjustments.identity_of(change)\n",
            ),
            (
                APPROVALS,
                "    if made is not None:\n        return await _write_outcome(inventory, approval.id, *made)\n",
                "",
            ),
        ],
        ["tests/inventory/stock/test_approval_crashes.py"],
    ),
    fault(
        "a chunk of an import has no identity",
        "a chunk is only applied once",
        [
            (
                "inventory/bulk/chunks.py",
                'base = derived_base("import", imported.id, f"{head.takes}:{head.first_row}:{count}")',
                'base = __import__("secrets").token_hex(12)',
            )
        ],
        ["tests/inventory/bulk/test_all_or_none.py"],
    ),
    fault(
        "a follower's cursor outside its transaction",
        "first the work, then the bookkeeping",
        [
            (
                "worker/follower.py",
                "                if not await followers.move(transaction, self._consumer.name, position, end):\n"
                '                    raise RuntimeError("the cursor moved although its row was held")\n',
                "",
            ),
            (
                "worker/follower.py",
                "        if entries:\n            self.status.entries",
                "        if entries:\n"
                "            async with self._database.transaction() as after:\n"
                "                await followers.move(after, self._consumer.name, position, end)\n"
                "            self.status.entries",
            ),
        ],
        ["tests/worker/test_follower.py"],
    ),
    fault(
        "a reader that comes back skips the rest of a batch",
        "a batch is one event",
        [
            (
                "inventory/events/log.py",
                "        begin = max(begin, after.seq + 1)\n",
                "        begin = begin if after.seq < begin else entry.last_seq + 1\n",
            )
        ],
        ["tests/inventory/events/test_outgoing.py"],
    ),
    fault(
        "two evaluators raise two alerts",
        "an alert that is already there is found",
        [("inventory/alerts/evaluator.py", "    await alerts.one_writer(transaction)\n", "")],
        ["tests/inventory/alerts/test_evaluator.py"],
    ),
    fault(
        "an event is delivered again",
        "a webhook can sort that out",
        [
            (
                "persistence/queries/webhook_deliveries.py",
                '        " ON CONFLICT (webhook_id, event_id) DO NOTHING"\n',
                "",
            )
        ],
        ["tests/inventory/webhooks/test_delivery.py"],
    ),
    fault(
        "a revoked key goes on",
        "keys known once need not be asked for again",
        [
            (
                "api/auth.py",
                "self._callers = {key.key_hash: ",
                "self._callers |= {key.key_hash: ",
            )
        ],
        ["tests/http/test_keys.py"],
    ),
    fault(
        "the sweeper believes every clock",
        "the server knows what time it is",
        [("worker/sweeper.py", "        if not self._clocks_agree(server_ms):\n            return 0\n", "")],
        ["tests/worker/test_sweeper.py"],
    ),
    fault(
        "a cancellation forgets what came back",
        "an order is cancelled whole",
        [("persistence/queries/orders.py", "self.sold - self.returned - self.put_back", "self.sold - self.put_back")],
        ["tests/http/test_orders.py"],
    ),
    fault(
        "an order event is taken off the stream as it is read",
        "NOACK spares a round trip",
        [
            (
                "worker/order_stream.py",
                "            block=settings.block_ms,\n        )\n",
                "            block=settings.block_ms,\n            noack=True,\n        )\n",
            )
        ],
        ["tests/worker/test_order_stream_faults.py"],
    ),
    fault(
        "a drift of one unit is let pass",
        "one unit more or less is a matter of timing",
        [
            (
                "inventory/reconciliation/reconcile.py",
                "        elif found.on_hand != on_hand:\n",
                "        elif abs(found.on_hand - on_hand) > 1:\n",
            )
        ],
        ["tests/inventory/reconciliation/test_reconcile.py"],
    ),
    fault(
        "counters are held against a journal that has moved on",
        "the two are read right after each other",
        [
            (
                "inventory/reconciliation/reconcile.py",
                "            cursor, first = chunk.cursor, False\n"
                "            await self._reach(chunk.moment)\n"
                "            for counters in chunk.items:\n",
                "            cursor, first = chunk.cursor, False\n"
                "            await self._reach(await self._reader.moment())\n"
                "            for counters in chunk.items:\n",
            )
        ],
        ["tests/inventory/reconciliation/test_reconcile.py"],
    ),
    fault(
        "a browser stays signed in with a revoked key",
        "the key was good when they signed in",
        [
            (
                "persistence/queries/console_sessions.py",
                "_SESSION.expires_at > func.now(), _KEY.revoked_at.is_(None))",
                "_SESSION.expires_at > func.now())",
            )
        ],
        ["tests/console/test_sign_in.py"],
    ),
    fault(
        "the client sends again what may not be repeated",
        "a lost answer is worth another try",
        [
            (
                "holdfast_client/retrying.py",
                "        return AnswerLost(text), call.repeatable, None\n",
                "        return AnswerLost(text), True, None\n",
            )
        ],
        ["tests/client/test_retrying.py"],
    ),
]
