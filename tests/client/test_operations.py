"""What the client asks, against the real service: one test a topic, over both clients and both adapters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import pytest

from holdfast_client import (
    Approval,
    Forbidden,
    IdempotencyKeyReused,
    InsufficientStock,
    PreviewHasErrors,
    ReserveRequest,
    ReturnExceedsOrder,
    SelfApproval,
    StockMoved,
    Transaction,
    Unauthenticated,
    UnknownKey,
    UnknownReservation,
    UnknownSku,
    ValidationError,
)
from holdfast_client.events import ReservationCreated, StockAdjusted
from tests.client.conftest import Shop
from tests.client.driving import open_client


def test_reserve_look_amend_confirm(shop: Shop) -> None:
    sku, shopper = shop.sku(10), shop.storefront
    held = shopper.reserve(sku, 3, customer_id="ann", cart_id="cart-9", ttl_s=900)
    assert (held.status, held.customer_id, held.cart_id) == ("ACTIVE", "ann", "cart-9")
    assert held.expires_at - held.created_at == timedelta(seconds=900)
    assert shopper.get_reservation(held.id).id == held.id
    assert shopper.amend(held.id, {sku: 2}).lines[0].quantity == 2
    assert shopper.availability(sku, 8).is_available
    assert [one.available for one in shopper.availability_of([sku], 9)] == [8]
    sold = shopper.confirm(held.id, "o-1", durability="ledger")
    assert sold.status == "COMPLETED"
    assert shopper.confirm(held.id, "o-1") == sold
    assert shop.level(sku) == (8, 0)


def test_release(shop: Shop) -> None:
    sku = shop.sku(10)
    held = shop.storefront.reserve({sku: 3}, customer_id="ann")
    assert shop.storefront.release(held.id).status == "CANCELLED"
    assert shop.storefront.release(held.id).status == "CANCELLED"
    with pytest.raises(UnknownReservation):
        shop.storefront.release("0" * 36)


def test_a_key_of_ones_own_and_keys_made_for_each_call(shop: Shop) -> None:
    sku, shopper = shop.sku(10), shop.storefront
    first = shopper.reserve(sku, 1, customer_id="ann", idempotency_key=f"k-{sku}")
    assert shopper.reserve(sku, 1, customer_id="ann", idempotency_key=f"k-{sku}") == first
    assert shopper.reserve(sku, 1, customer_id="ann").id != shopper.reserve(sku, 1, customer_id="ann").id
    with pytest.raises(IdempotencyKeyReused):
        shopper.reserve(sku, 2, customer_id="ann", idempotency_key=f"k-{sku}")
    assert shop.level(sku) == (10, 3)


def test_partial(shop: Shop) -> None:
    sku = shop.sku(2)
    held = shop.storefront.reserve(sku, 5, customer_id="ann", allow_partial=True)
    assert held.lines[0].quantity == 2
    assert [(short.requested, short.available) for short in held.shortages] == [(5, 2)]


def test_a_batch(shop: Shop) -> None:
    sku = shop.sku(3)
    good, bad, keyed, again = shop.storefront.reserve_batch(
        [
            ReserveRequest(customer_id="ann", lines={sku: 1}),
            ReserveRequest(customer_id="bob", lines={sku: 9}),
            ReserveRequest(customer_id="cy", lines=[(sku, 1)], idempotency_key=f"k-{sku}"),
            ReserveRequest(customer_id="cy", lines=[(sku, 1)], idempotency_key=f"k-{sku}"),
        ]
    )
    assert good.reservation.customer_id == "ann"
    assert bad.status == 409
    assert isinstance(bad.problem, InsufficientStock)
    assert bad.problem.shortages[0].sku == sku
    assert again.replayed
    assert keyed.reservation == again.reservation
    assert shop.level(sku) == (3, 2)


def test_what_is_wrong_is_told_whole(shop: Shop) -> None:
    with pytest.raises(UnknownSku) as unknown:
        shop.storefront.reserve({"NO-SUCH": 1, "NOR-THIS": 1}, customer_id="ann")
    assert sorted(unknown.value.skus) == ["NO-SUCH", "NOR-THIS"]
    assert unknown.value.status == 404
    assert unknown.value.request_id
    with pytest.raises(ValidationError) as invalid:
        shop.storefront.reserve("A", 0, customer_id="ann")
    assert "quantity" in invalid.value.errors[0].at
    with pytest.raises(Forbidden):
        shop.storefront.list_jobs()
    with open_client(shop.kind, shop.url, "not-a-key") as nobody, pytest.raises(Unauthenticated):
        nobody.availability("A")


def test_an_order_and_its_return(cold_shop: Shop) -> None:
    shop, sku = cold_shop, cold_shop.sku(10)
    order_id = f"o-{sku}"
    ids = [shop.storefront.reserve(sku, 2, customer_id="ann").id for _ in range(2)]
    made = shop.storefront.order_created(order_id, ids)
    assert (made.status, len(made.reservations), shop.level(sku)) == ("COMPLETED", 2, (6, 0))
    back = shop.admin.return_units(order_id, {sku: 1}, reason="wrong colour")
    assert [row.transaction_type for row in back.transactions] == ["RETURN"]
    with pytest.raises(ReturnExceedsOrder) as excess:
        shop.admin.return_units(order_id, [(sku, 4)], reason="all of it")
    assert excess.value.items[0].returnable == 3
    assert shop.storefront.order_cancelled(order_id, "changed her mind").status == "CANCELLED"
    assert shop.level(sku) == (10, 0)
    assert list(shop.admin.list_dead_letters()) == []


def test_products_and_stock(cold_shop: Shop) -> None:
    admin, sku = cold_shop.admin, cold_shop.sku(3, category="mugs", low_stock_threshold=5)
    assert admin.get_product(sku).category == "mugs"
    assert admin.put_product(sku, "Renamed").low_stock_threshold == 5
    assert [product.name for product in admin.list_products(q=sku)] == ["Renamed"]
    status = admin.stock_status(sku)
    assert (status.available, status.status) == (3, "LOW_STOCK")
    assert sku in {one.sku for one in admin.low_stock(page_size=500)}
    admin.adjust(sku, "remove", 3, reason="all of it")
    assert sku in {one.sku for one in admin.out_of_stock(page_size=500)}
    assert {level.sku: level.on_hand for level in admin.list_levels(page_size=500)}[sku] == 0
    assert sku.encode() in b"".join(admin.export("csv", category="mugs", max_available=0))
    assert b"".join(admin.export("xlsx", category="mugs")).startswith(b"PK")


def test_lists_go_on_over_their_pages_and_stop_where_they_are_left(cold_shop: Shop) -> None:
    admin, sku = cold_shop.admin, cold_shop.sku(0)
    for _ in range(5):
        admin.adjust(sku, "receive", 1, reason="delivery")
    rows = list(admin.list_transactions(sku, page_size=2))
    assert [row.new_stock for row in rows] == [5, 4, 3, 2, 1]
    assert [row.new_stock for row in islice(admin.list_transactions(sku, page_size=2), 3)] == [5, 4, 3]
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert list(admin.list_transactions(sku, until=yesterday)) == []
    assert len(list(admin.list_transactions(sku, since=yesterday, type="IN"))) == 5
    with pytest.raises(ValueError, match="zone"):
        list(admin.list_transactions(sku, since=datetime(2026, 1, 1)))


def test_changes_and_approvals(cold_shop: Shop) -> None:
    operator, manager, sku = cold_shop.as_("operator"), cold_shop.as_("manager"), cold_shop.sku(10)
    row = operator.adjust(sku, "receive", 5, reason="delivery", reference="D-1", idempotency_key=f"k-{sku}")
    assert isinstance(row, Transaction)
    assert (row.new_stock, row.reference_id) == (15, "D-1")
    again = operator.adjust(sku, "receive", 5, reason="delivery", reference="D-1", idempotency_key=f"k-{sku}")
    assert again == row
    assert operator.damage(sku, 1, reason="dropped").transaction_type == "DAMAGE"
    waiting = manager.adjust(sku, "receive", 5000, reason="container")
    assert isinstance(waiting, Approval)
    assert cold_shop.level(sku) == (14, 0)
    assert waiting.id in {one.id for one in manager.list_approvals(status="PENDING")}
    with pytest.raises(SelfApproval):
        manager.approve(waiting.id)
    done = cold_shop.admin.approve(waiting.id, reason="counted")
    assert (done.status, done.transactions[0].new_stock) == ("APPROVED", 5014)
    assert manager.get_approval(waiting.id).status == "APPROVED"
    other = manager.adjust(sku, "remove", 2000, reason="sold off")
    assert cold_shop.admin.reject(other.id).status == "REJECTED"


def test_a_file(cold_shop: Shop, tmp_path: Path) -> None:
    operator, sku = cold_shop.as_("operator"), cold_shop.sku(10)
    preview = operator.upload_stock(f"sku,quantity\n{sku},12\n".encode(), mode="set", reason="monthly count")
    assert (preview.status, preview.changes[0].delta) == ("PREVIEW", 2)
    assert [change.new for change in operator.list_import_changes(preview.id)] == [12]
    cold_shop.storefront.confirm(cold_shop.storefront.reserve(sku, customer_id="ann").id)
    cold_shop.admin.adjust(sku, "receive", 3, reason="delivery")
    with pytest.raises(StockMoved) as moved:
        operator.apply_import(preview.id)
    assert [(row.expected, row.on_hand) for row in moved.value.rows] == [(10, 12)]
    applied = operator.apply_import(preview.id, force=True)
    assert (applied.status, applied.is_working, cold_shop.level(sku)) == ("APPLIED", False, (12, 0))
    assert operator.revert_import(preview.id).status == "REVERTED"
    assert operator.get_import(preview.id).status == "REVERTED"
    assert preview.id in {one.id for one in operator.list_imports()}
    catalogue = tmp_path / "catalogue.csv"
    catalogue.write_text(f"sku,name\n{sku},By file\n")
    assert operator.import_products(catalogue).updated == 1
    catalogue.write_text("sku,name\n{},x\n")
    with pytest.raises(PreviewHasErrors) as bad:
        operator.import_products(catalogue)
    assert bad.value.errors[0].row == 2


def test_keys_audit_jobs_and_health(cold_shop: Shop) -> None:
    admin = cold_shop.admin
    made = admin.create_key("a shop", "storefront")
    assert made.key not in repr(made)
    assert made.id in {key.id for key in admin.list_keys(page_size=1)}
    admin.revoke_key(made.id)
    with pytest.raises(UnknownKey):
        admin.revoke_key("key_none")
    assert next(iter(admin.list_audit(page_size=5))).key_name
    jobs = admin.list_jobs()
    assert admin.list_job_runs(jobs.items[0].name, limit=1).items == []
    assert admin.health().status == "alive"
    assert admin.readiness().redis == "ok"
    assert "holdfast_" in admin.metrics()
    assert admin.reconciliation().status == "ok"
    assert list(admin.list_alerts(status="RESOLVED", sku="NONE")) == []


def test_reservations_as_the_ledger_has_them(cold_shop: Shop) -> None:
    sku = cold_shop.sku(5)
    held = cold_shop.storefront.reserve(sku, customer_id=f"c-{sku}")
    cold_shop.storefront.confirm(held.id, durability="ledger")
    (found,) = cold_shop.admin.list_reservations(customer_id=f"c-{sku}", status="COMPLETED")
    assert found.id == held.id


def test_webhooks(cold_shop: Shop) -> None:
    admin = cold_shop.admin
    made = admin.create_webhook("http://127.0.0.1:8999/hooks", ["stock.*"])
    assert made.secret.startswith("whsec_")
    assert made.secret not in repr(made)
    assert admin.get_webhook(made.id).status == "active"
    assert made.id in {webhook.id for webhook in admin.list_webhooks()}
    assert admin.rotate_webhook_secret(made.id).secret != made.secret
    sent = admin.test_webhook(made.id)
    assert sent.id in {delivery.id for delivery in admin.list_deliveries(made.id)}
    assert admin.retry_delivery(made.id, sent.id).id == sent.id
    assert admin.disable_webhook(made.id).status == "disabled"
    assert admin.enable_webhook(made.id).status == "active"
    admin.delete_webhook(made.id)


def test_events_from_where_one_left_off(cold_shop: Shop) -> None:
    sku = cold_shop.sku(5)
    held = cold_shop.storefront.reserve(sku, 2, customer_id="ann")
    types = ("stock.adjusted", "reservation.created")
    stream = cold_shop.admin.events(types=types, last_event_id="oldest")
    mine = []
    for event in stream:
        if isinstance(event.data, (StockAdjusted, ReservationCreated)) and event.data.lines[0].sku == sku:
            mine.append(event)
            if len(mine) == 2:
                break
    stream.close()
    opening, created = mine
    assert (opening.type, opening.data.lines[0].on_hand) == ("stock.adjusted", 5)
    assert (created.data.id, created.data.customer_id) == (held.id, "ann")
    again = cold_shop.admin.events(types=types, last_event_id=opening.id)
    assert next(again) == created
    again.close()
