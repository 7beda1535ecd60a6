"""docs/webhooks.md is true: its receiver takes what is sent once, and refuses what is not ours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import WebhookVerificationError

from inventory.rules import WebhookRules
from inventory.webhooks import delivery, sender, subscriptions
from inventory.webhooks.signing import new_secret
from runtime.settings import Settings
from tests.inventory.webhooks.conftest import Shop
from tests.inventory.webhooks.receiver import Receiver

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()


async def test_the_receiver_of_the_guide(shop: Shop, receiver: Receiver, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    guide: dict[str, Any] = {}
    exec(code, guide)  # noqa: S102
    webhook, secret = await shop.webhook(receiver)
    await subscriptions.send_test(shop.inventory, shop.jobs, webhook)
    await shop.deliver(webhook)
    (got,) = receiver.requests
    for _ in range(2):
        assert guide["receive"](secret, got.headers, got.body) == 204
    assert capsys.readouterr().out.count("webhook.test") == 1
    with pytest.raises(WebhookVerificationError):
        guide["receive"](new_secret(), got.headers, got.body)


def test_the_numbers_of_the_guide() -> None:
    rules = WebhookRules()
    assert rules.retry_s == (5, 30, 120, 600, 3600, 21_600, 86_400)
    assert "5 s, 30 s, 2 min, 10 min, 1 h, 6 h, 24 h" in PAGE
    assert (rules.disable_after_s, delivery.DISABLE_FROM) == (3 * 86_400, 10)
    assert (delivery.PAUSE_FROM, delivery.FIRST_PAUSE_S, delivery.MAX_PAUSE_S) == (3, 5, 900)
    assert (sender.CONNECT_TIMEOUT_S, sender.TOTAL_TIMEOUT_S, sender.MAX_ANSWER_BYTES) == (3, 10, 4096)
    assert (subscriptions.MAX_WEBHOOKS, subscriptions.BOTH_SECRETS_S, sender.CONNECTIONS) == (100, 86_400, 8)
    for name in re.findall(r"HOLDFAST_WEBHOOK_[A-Z_]+[A-Z]", PAGE):
        assert name.removeprefix("HOLDFAST_").lower() in Settings.model_fields
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert defaults["webhook_disable_after_hours"] * 3600 == rules.disable_after_s
    assert defaults["webhook_log_days"] * 86_400 == rules.log_s
    assert defaults["webhook_max_pending"] == rules.max_pending
    assert defaults["webhook_allow_private"] is rules.allow_private is False
