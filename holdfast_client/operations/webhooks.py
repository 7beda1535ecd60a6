"""Webhooks: who is told about which events, and the log of it. Verifying what is told stands in signatures.py."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_client.answers.running import Delivery, Webhook
from holdfast_client.answers.shop import Page
from holdfast_client.asking import Asking, as_, nothing, page_of
from holdfast_client.driving import operation, streamed
from holdfast_client.steps import Call, Steps, Stream


class WebhookOperations(Asking):
    """Webhooks and their deliveries."""

    @operation
    def create_webhook(self, url: str, events: Sequence[str] = ("*",)) -> Steps[Webhook]:
        """Make a webhook; its `secret` stands in this answer alone. Not tried again once it was sent.

        `events`: types, families such as `stock.*`, or `*`. Raises WebhookUrlRefused, WebhookLimit.
        """
        body = {"url": url, "events": list(events)}
        return (yield from self._ask(Call("/admin/webhooks", "POST", as_(Webhook), body=body, repeatable=False)))

    @streamed(Webhook)
    def list_webhooks(self, *, page_size: int | None = None) -> Stream:
        """Every webhook, newest first, without secrets."""

        def page(cursor: str | None) -> Call[Page[Webhook]]:
            return Call("/admin/webhooks", "GET", page_of(Webhook), query={"limit": page_size, "cursor": cursor})

        yield from self._walk(page)

    @operation
    def get_webhook(self, webhook_id: str) -> Steps[Webhook]:
        """Whether it is active, since when it fails, why it was disabled. Raises UnknownWebhook."""
        return (yield from self._ask(Call("/admin/webhooks/{}", "GET", as_(Webhook), (webhook_id,))))

    @operation
    def delete_webhook(self, webhook_id: str) -> Steps[None]:
        """Nothing more is sent. Raises UnknownWebhook."""
        yield from self._ask(Call("/admin/webhooks/{}", "DELETE", nothing, (webhook_id,), gone_is_done=True))

    @operation
    def test_webhook(self, webhook_id: str) -> Steps[Delivery]:
        """Send an event `webhook.test`. Not tried again once it was sent. Raises WebhookDisabled."""
        call = Call("/admin/webhooks/{}/test", "POST", as_(Delivery), (webhook_id,), repeatable=False)
        return (yield from self._ask(call))

    @operation
    def rotate_webhook_secret(self, webhook_id: str) -> Steps[Webhook]:
        """Replace the secret; for 24 hours both sign. Not tried again once it was sent: twice would end the first."""
        call = Call("/admin/webhooks/{}/rotate-secret", "POST", as_(Webhook), (webhook_id,), repeatable=False)
        return (yield from self._ask(call))

    @operation
    def enable_webhook(self, webhook_id: str) -> Steps[Webhook]:
        """Send what waited, and what happens from now on. Ends a pause."""
        return (yield from self._ask(Call("/admin/webhooks/{}/enable", "POST", as_(Webhook), (webhook_id,))))

    @operation
    def disable_webhook(self, webhook_id: str) -> Steps[Webhook]:
        """Send nothing until it is enabled."""
        return (yield from self._ask(Call("/admin/webhooks/{}/disable", "POST", as_(Webhook), (webhook_id,))))

    @streamed(Delivery)
    def list_deliveries(self, webhook_id: str, *, status: str | None = None, page_size: int | None = None) -> Stream:
        """The delivery log, newest first. `status`: PENDING, DELIVERED, FAILED or DISCARDED."""

        def page(cursor: str | None) -> Call[Page[Delivery]]:
            query = {"status": status, "limit": page_size, "cursor": cursor}
            return Call("/admin/webhooks/{}/deliveries", "GET", page_of(Delivery), (webhook_id,), query=query)

        yield from self._walk(page)

    @operation
    def retry_delivery(self, webhook_id: str, delivery_id: int) -> Steps[Delivery]:
        """Send a delivery again, however it stands. Raises UnknownDelivery, WebhookDisabled."""
        call = Call(
            "/admin/webhooks/{}/deliveries/{}/retry",
            "POST",
            as_(Delivery),
            (webhook_id, str(delivery_id)),
            repeatable=False,
        )
        return (yield from self._ask(call))
