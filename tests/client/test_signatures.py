"""Webhook messages as the service signs them, and every way in which one must not be believed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from holdfast_client import WebhookRefused, verify_webhook
from holdfast_client.events import StockLevelNews, WebhookTest
from inventory.webhooks.signing import SigningSecrets, new_secret, signature_headers

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_S = NOW.timestamp()
BODY = (
    '{"type":"stock.low","timestamp":"2026-03-01T12:00:00.000Z","data":{"alert_id":1,"sku":"MUG","state":"LOW_STOCK",'
    '"available":9,"low_stock_threshold":10,"sell_out_seconds":null},"id":"0-1-3","partition":0,"epoch":1,"seq":3}'
)
SECRET, OLD, OTHER = new_secret(), new_secret(), new_secret()


def signed(secrets: SigningSecrets | None = None, body: str = BODY) -> dict[str, str]:
    return signature_headers(secrets or SigningSecrets(SECRET), "0-1-3", NOW, body)


def verify(secret: Any = SECRET, headers: dict[str, str] | None = None, body: str = BODY, at: float = NOW_S) -> Any:
    return verify_webhook(secret, signed() if headers is None else headers, body.encode(), now_s=at)


def test_a_message_of_the_service() -> None:
    event = verify()
    assert (event.id, event.type, event.seq, event.at) == ("0-1-3", "stock.low", 3, NOW)
    assert event.data == StockLevelNews(1, "MUG", "LOW_STOCK", 9, 10, None)


def test_headers_in_any_case() -> None:
    assert verify(headers={name.title(): value for name, value in signed().items()}).id == "0-1-3"


def test_during_a_rotation_either_secret_will_do() -> None:
    both = signed(SigningSecrets(SECRET, OLD))
    assert verify(SECRET, both).seq == 3
    assert verify(OLD, both).seq == 3
    assert verify([OTHER, OLD], both).seq == 3
    assert verify([SECRET, OLD], signed()).seq == 3
    with pytest.raises(WebhookRefused):
        verify(OTHER, both)


@pytest.mark.parametrize("change", ["body", "id", "timestamp", "secret"])
def test_anything_changed_is_refused(change: str) -> None:
    headers, body, secret = signed(), BODY, SECRET
    if change == "body":
        body = BODY.replace("9", "8")
    elif change == "secret":
        secret = OTHER
    else:
        headers[f"webhook-{change}"] = {"id": "0-1-4", "timestamp": str(int(NOW_S) + 1)}[change]
    with pytest.raises(WebhookRefused, match="no signature"):
        verify(secret, headers, body)


@pytest.mark.parametrize(
    "signature", ["", "v1,", "v1", "v1,!!!", "v2,abc", "v1a,abc", "\u00e9", "v1,\u00e9", "v1," * 1000]
)
def test_signatures_that_are_none(signature: str) -> None:
    with pytest.raises(WebhookRefused):
        verify(headers={**signed(), "webhook-signature": signature})


@pytest.mark.parametrize("name", ["id", "timestamp", "signature"])
def test_a_missing_header(name: str) -> None:
    headers = signed()
    del headers[f"webhook-{name}"]
    with pytest.raises(WebhookRefused, match=f"webhook-{name}"):
        verify(headers=headers)


def test_too_old_or_from_the_future_is_refused_though_signed() -> None:
    assert verify(at=NOW_S + 300).seq == 3
    assert verify(at=NOW_S - 300).seq == 3
    for at in (NOW_S + 301, NOW_S - 301):
        with pytest.raises(WebhookRefused):
            verify(at=at)
    with pytest.raises(WebhookRefused, match="too old"):
        verify_webhook(SECRET, signed(), BODY.encode())


@pytest.mark.parametrize("timestamp", ["", "x", "-5", "1e3", "nan", "1.5", "9" * 30, "\u0661"])
def test_a_timestamp_that_is_none(timestamp: str) -> None:
    with pytest.raises(WebhookRefused, match="Unix seconds"):
        verify(headers={**signed(), "webhook-timestamp": timestamp})


def test_a_bad_secret_is_a_mistake_of_the_receiver() -> None:
    for secret in ("whsec_***", [], "whsec_\u00e9"):
        with pytest.raises(ValueError, match="secret"):
            verify(secret)


def test_signed_but_no_event() -> None:
    for body in ("[]", "{}", "x", '{"id":"1","type":"a.b","data":{}}'):
        with pytest.raises(WebhookRefused, match="not an event"):
            verify(headers=signed(body=body), body=body)


def test_events_of_tomorrow_and_the_test_event() -> None:
    body = '{"type":"stock.burnt","timestamp":"2026-03-01T12:00:00Z","data":{"sku":"A"},"id":"0-1-3","seq":3}'
    assert verify(headers=signed(body=body), body=body).data == {"sku": "A"}
    body = '{"type":"webhook.test","timestamp":"2026-03-01T12:00:00Z","data":{"webhook_id":"w","message":"m"},"id":"t"}'
    event = verify(headers=signed(body=body), body=body)
    assert (event.data, event.seq) == (WebhookTest("w", "m"), None)
