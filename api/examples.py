"""Examples for the OpenAPI document, by struct or problem code. Data only; a test holds them against the structs."""

from __future__ import annotations

from typing import Any, Final

_ID: Final = "4f1c2a9be07d3355aa10c2e70190c5d1a8b0"
_AT: Final = "2026-03-01T12:00:00.000Z"
_RESERVATION: Final[dict[str, Any]] = {
    "id": _ID,
    "status": "ACTIVE",
    "customer_id": "c-1042",
    "cart_id": None,
    "order_id": None,
    "lines": [{"sku": "MUG-RED", "quantity": 2}],
    "expires_at": "2026-03-01T12:15:00.000Z",
    "expires_in_seconds": 900,
    "created_at": _AT,
    "updated_at": _AT,
}
_SOLD: Final = {**_RESERVATION, "status": "COMPLETED", "order_id": "o-77", "expires_in_seconds": 0}
_TRANSACTION: Final[dict[str, Any]] = {
    "id": 812,
    "sku": "MUG-RED",
    "transaction_type": "IN",
    "quantity": 24,
    "previous_stock": 10,
    "new_stock": 34,
    "reference_type": "Adjustment",
    "reference_id": "DN-4711",
    "reason": "delivery 4711",
    "created_by": "admin",
    "created_at": _AT,
    "partition": 0,
    "seq": 1903,
}
_LEVEL: Final[dict[str, Any]] = {
    "sku": "MUG-RED",
    "on_hand": 34,
    "reserved": 2,
    "partition": 0,
    "seq": 1903,
    "updated_at": _AT,
}
_SALE: Final = {
    **_TRANSACTION,
    "transaction_type": "OUT",
    "quantity": -2,
    "new_stock": 8,
    "reference_type": "Order",
    "reference_id": "o-77",
    "reason": None,
    "created_by": "storefront",
}
_PRODUCT: Final[dict[str, Any]] = {
    "sku": "MUG-RED",
    "name": "Red mug",
    "category": "mugs",
    "low_stock_threshold": 10,
    "safety_stock": 2,
    "status": "active",
    "created_at": _AT,
    "updated_at": _AT,
}
_STATUS: Final[dict[str, Any]] = {
    "sku": "MUG-RED",
    "name": "Red mug",
    "category": "mugs",
    "on_hand": 34,
    "reserved": 5,
    "safety_stock": 2,
    "available": 27,
    "low_stock_threshold": 10,
    "status": "IN_STOCK",
    "as_of": _AT,
}
_SHORTAGE: Final = {"sku": "MUG-RED", "requested": 5, "available": 3, "next_release_at": "2026-03-01T12:04:10.000Z"}
_AVAILABLE: Final = {
    "sku": "MUG-RED",
    "requested": 1,
    "available": 27,
    "is_available": True,
    "next_release_at": None,
}

EXAMPLES: Final[dict[str, Any]] = {
    "ReserveBody": {"customer_id": "c-1042", "sku": "MUG-RED", "quantity": 2, "ttl_seconds": 900},
    "BatchBody": {
        "reservations": [
            {"customer_id": "c-1042", "sku": "MUG-RED", "quantity": 2, "idempotency_key": "cart-9-try-1"},
            {"customer_id": "c-1043", "lines": [{"sku": "MUG-RED", "quantity": 1}]},
        ]
    },
    "AmendBody": {"lines": [{"sku": "MUG-RED", "quantity": 1}], "ttl_seconds": 600},
    "ConfirmBody": {"order_id": "o-77"},
    "ReservationView": _RESERVATION,
    "BatchView": {"results": [{"status": 201, "reservation": _RESERVATION}]},
    "AvailabilityView": _AVAILABLE,
    "AvailabilityList": {"items": [_AVAILABLE], "next_cursor": None},
    "ProductBody": {
        "name": "Red mug",
        "category": "mugs",
        "low_stock_threshold": 10,
        "safety_stock": 2,
        "initial_stock": 34,
    },
    "LevelView": _LEVEL,
    "LevelList": {"items": [_LEVEL], "next_cursor": None},
    "ProductView": _PRODUCT,
    "ProductList": {"items": [_PRODUCT], "next_cursor": None},
    "StockStatusView": _STATUS,
    "StockStatusList": {"items": [_STATUS], "next_cursor": None},
    "AdjustBody": {
        "sku": "MUG-RED",
        "kind": "receive",
        "quantity": 24,
        "reason": "delivery 4711",
        "reference": "DN-4711",
    },
    "DamageBody": {"sku": "MUG-RED", "quantity": 1, "reason": "dropped in the warehouse"},
    "ReturnBody": {"order_id": "o-77", "items": [{"sku": "MUG-RED", "quantity": 1}], "reason": "wrong colour"},
    "TransactionView": _TRANSACTION,
    "TransactionList": {"items": [_TRANSACTION], "next_cursor": None},
    "ReservationList": {"items": [_RESERVATION], "next_cursor": None},
    "ReturnView": {"transactions": [{**_TRANSACTION, "transaction_type": "RETURN", "reference_type": "Order"}]},
    "OrderCreated": {"type": "order.created", "order_id": "o-77", "reservation_ids": [_ID]},
    "OrderCancelled": {"type": "order.cancelled", "order_id": "o-77", "reason": "the customer changed her mind"},
    "OrderView": {"order_id": "o-77", "status": "COMPLETED", "reservations": [_SOLD], "transactions": [_SALE]},
    "KeyBody": {"name": "web shop", "role": "storefront"},
    "KeyView": {"id": "key_3fa1", "name": "web shop", "role": "storefront", "created_at": _AT, "revoked_at": None},
    "NewKeyView": {"id": "key_3fa1", "name": "web shop", "role": "storefront", "key": "hf_shown-only-this-once"},
    "KeyList": {
        "items": [{"id": "key_3fa1", "name": "web shop", "role": "storefront", "created_at": _AT, "revoked_at": None}],
        "next_cursor": None,
    },
    "HealthView": {"status": "alive"},
    "ReadinessView": {
        "status": "ready",
        "redis": "ok",
        "postgres": "ok",
        "flusher": "ok",
        "epoch": 1,
        "journal_lag_events": 0,
    },
    "insufficient-stock": {"shortages": [_SHORTAGE]},
    "unknown-sku": {"skus": ["MUG-GREEN"]},
    "product-inactive": {"skus": ["MUG-RED"]},
    "reservation-not-active": {"reservation": _SOLD},
    "reservation-expired": {"reservation": {**_RESERVATION, "status": "EXPIRED", "expires_in_seconds": 0}},
    "validation-error": {"errors": [{"at": "$.quantity", "message": "Expected `int` >= 1"}]},
}
