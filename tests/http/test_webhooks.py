"""/admin/webhooks: made, looked at, changed, tested, deleted; only by admins, never to where they may not lead."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from inventory.context import InventorySettings
from inventory.rules import WebhookRules
from inventory.webhooks.delivery import deliver
from persistence.database_url import psycopg_url
from tests.http.conftest import Shop, assert_problem
from tests.http.running import RunningService
from tests.inventory.webhooks.receiver import Receiver

PATH = "/admin/webhooks"
SHOWN = {
    "id", "url", "events", "status", "reason", "created_by", "created_at", "disabled_at", "failing_since", "failures",
    "resumes_at", "last_delivered_at", "previous_secret_until",
}  # fmt: skip
PUBLIC = "https://8.8.8.8/hooks"
"""Public as it stands, so that no test asks a name server."""

REFUSED = [
    "http://8.8.8.8/", "https://127.0.0.1/", "https://localhost/", "https://169.254.169.254/latest/meta-data/",
    "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/",
    "https://127.1/", "https://10.0.0.1/", "https://192.168.0.1/", "https://172.16.0.1/", "https://100.64.0.1/",
    "https://0.0.0.0/", "https://224.0.0.1/", "https://[fe80::1]/", "https://[fd00::1]/", "https://[2002:7f00:1::]/",
    "https://[64:ff9b::7f00:1]/", "https://[2001:0:1::]/", "file:///etc/passwd", "gopher://8.8.8.8/", "8.8.8.8",
    "https://admin:secret@8.8.8.8/", "https://8.8.8.8:25/", "https://8.8.8.8/#x", "https://8.8.8.8\\@127.0.0.1/",
    "https://\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3/", "https:///x", "https://8.8.8.8 /",
]  # fmt: skip


def make(shop: Shop, url: str = PUBLIC, *events: str) -> dict[str, Any]:
    answer = shop.as_("admin").post(PATH, json={"url": url, "events": list(events) or ["*"]})
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(autouse=True)
def clean(service: RunningService) -> Iterator[None]:
    """Webhooks of one test would hear of every other test's events."""
    yield
    with psycopg.connect(psycopg_url(service.database_url)) as connection:
        connection.execute("TRUNCATE webhooks CASCADE")


def test_a_webhook_is_made_and_its_secret_shown_once(one_shop: Shop) -> None:
    made = make(one_shop, PUBLIC, "stock.*", "reservation.confirmed", "stock.*")
    assert set(made) == SHOWN | {"secret"}
    assert made["secret"].startswith("whsec_")
    assert len(made["secret"]) == len("whsec_") + 44
    assert (made["status"], made["url"], made["events"]) == ("active", PUBLIC, ["stock.*", "reservation.confirmed"])
    admin = one_shop.as_("admin")
    one, listed = admin.get(f"{PATH}/{made['id']}"), admin.get(PATH)
    assert set(one.json()) == SHOWN
    assert listed.json() == {"items": [one.json()], "next_cursor": None}
    assert made["secret"] not in one.text + listed.text
    assert one.json()["created_by"] == "admin"


def test_rotation_shows_the_new_secret_once(one_shop: Shop) -> None:
    made = make(one_shop)
    admin = one_shop.as_("admin")
    rotated = admin.post(f"{PATH}/{made['id']}/rotate-secret")
    assert rotated.status_code == 200
    assert rotated.json()["secret"] not in {made["secret"], ""}
    assert rotated.json()["previous_secret_until"] > made["created_at"]
    assert "secret" not in admin.get(f"{PATH}/{made['id']}").json()


@pytest.mark.parametrize("url", REFUSED, ids=range(len(REFUSED)))
def test_where_webhooks_may_not_lead(one_shop: Shop, url: str) -> None:
    admin = one_shop.as_("admin")
    problem = assert_problem(admin.post(PATH, json={"url": url, "events": ["*"]}), 422, "webhook-url-refused")
    assert problem["detail"] != problem["title"]
    assert admin.get(PATH).json()["items"] == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": PUBLIC},
        {"events": ["*"]},
        {"url": PUBLIC, "events": []},
        {"url": PUBLIC, "events": ["stock.high"]},
        {"url": PUBLIC, "events": ["*", "nonsense.*"]},
        {"url": PUBLIC, "events": "*"},
        {"url": PUBLIC, "events": [None]},
        {"url": PUBLIC, "events": ["*"] * 51},
        {"url": "", "events": ["*"]},
        {"url": 7, "events": ["*"]},
        {"url": "https://8.8.8.8/" + "x" * 2000, "events": ["*"]},
        {"url": "https://8.8.8.8/\x00", "events": ["*"]},
        {"url": PUBLIC, "events": ["*"], "secret": "whsec_mine"},
    ],
    ids=lambda body: str(body)[:60],
)
def test_bodies_that_are_refused(one_shop: Shop, body: dict[str, object]) -> None:
    admin = one_shop.as_("admin")
    assert_problem(admin.post(PATH, json=body), 422, "validation-error")
    assert admin.get(PATH).json()["items"] == []


def test_pages(one_shop: Shop) -> None:
    made = [make(one_shop)["id"] for _ in range(5)]
    admin = one_shop.as_("admin")
    seen, cursor = [], None
    while True:
        page = admin.get(PATH, params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert_problem(admin.get(PATH, params={"cursor": "AAAA"}), 400, "invalid-cursor")


def test_a_deleted_webhook_is_unknown(one_shop: Shop) -> None:
    made = make(one_shop)
    admin, path = one_shop.as_("admin"), f"{PATH}/{made['id']}"
    assert admin.delete(path).status_code == 204
    for answer in (
        admin.get(path),
        admin.delete(path),
        admin.post(f"{path}/test"),
        admin.post(f"{path}/rotate-secret"),
        admin.post(f"{path}/enable"),
        admin.post(f"{path}/disable"),
        admin.get(f"{path}/deliveries"),
        admin.post(f"{path}/deliveries/1/retry"),
        admin.get(f"{PATH}/wh_never"),
        admin.get(f"{PATH}/%27%20OR%201=1"),
    ):
        assert_problem(answer, 404, "unknown-webhook")
    assert admin.get(PATH).json()["items"] == []


def test_the_log_and_what_can_be_asked_of_it(one_shop: Shop) -> None:
    made = make(one_shop)
    admin, path = one_shop.as_("admin"), f"{PATH}/{made['id']}"
    sent = [admin.post(f"{path}/test").json() for _ in range(3)]
    assert {one["status"] for one in sent} == {"PENDING"}
    page = admin.get(f"{path}/deliveries", params={"limit": 2}).json()
    assert page["items"] == [sent[2], sent[1]]
    rest = admin.get(f"{path}/deliveries", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert rest == {"items": [sent[0]], "next_cursor": None}
    # A cursor belongs to its list, filter and webhook.
    for other in ({"status": "PENDING"}, {"status": "FAILED"}):
        wrong = admin.get(f"{path}/deliveries", params={"cursor": page["next_cursor"], **other})
        assert_problem(wrong, 400, "invalid-cursor")
    other_log = admin.get(f"{PATH}/{make(one_shop)['id']}/deliveries", params={"cursor": page["next_cursor"]})
    assert_problem(other_log, 400, "invalid-cursor")
    assert admin.get(f"{path}/deliveries", params={"status": "FAILED"}).json()["items"] == []
    assert len(admin.get(f"{path}/deliveries", params={"status": "PENDING"}).json()["items"]) == 3
    assert_problem(admin.get(f"{path}/deliveries", params={"status": "LOST"}), 422, "validation-error")
    again = admin.post(f"{path}/deliveries/{sent[0]['id']}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "PENDING")
    for wrong_id in (2**63 - 1,):
        assert_problem(admin.post(f"{path}/deliveries/{wrong_id}/retry"), 404, "unknown-delivery")
    for wrong_id in (0, -1, 2**63, "x", "1.5"):
        assert_problem(admin.post(f"{path}/deliveries/{wrong_id}/retry"), 422, "validation-error")
    # Another webhook's delivery is none of this one's.
    other = make(one_shop)["id"]
    assert_problem(admin.post(f"{PATH}/{other}/deliveries/{sent[0]['id']}/retry"), 404, "unknown-delivery")


def test_disabled_and_enabled_by_hand(one_shop: Shop) -> None:
    path = f"{PATH}/{make(one_shop)['id']}"
    admin = one_shop.as_("admin")
    for _ in range(2):
        disabled = admin.post(f"{path}/disable").json()
        assert (disabled["status"], disabled["reason"]) == ("disabled", "disabled by admin")
    assert_problem(admin.post(f"{path}/test"), 409, "webhook-disabled")
    assert admin.post(f"{path}/enable").json()["status"] == "active"


def test_from_an_event_to_a_verified_request(make_service: Callable[..., RunningService]) -> None:
    """With private addresses allowed: made, told of a sale, disabled by a 410, enabled."""
    settings = InventorySettings(webhooks=WebhookRules(allow_private=True))
    running = make_service(None, None, settings)
    shop = Shop(running, "protocol")
    with Receiver() as receiver:
        made = make(shop, receiver.url(), "*")
        path = f"{PATH}/{made['id']}"
        shop.as_("admin").post(f"{path}/test")
        services = running.services
        told = running.run(lambda: deliver(services.inventory, services.jobs, made["id"]))
        assert told == "1 delivered, 0 failed"
        assert receiver.requests[0].verified_by(made["secret"])["type"] == "webhook.test"
        assert shop.as_("admin").get(path).json()["last_delivered_at"]
        receiver.otherwise = 410
        shop.as_("admin").post(f"{path}/test")
        running.run(lambda: deliver(services.inventory, services.jobs, made["id"]))
    one = shop.as_("admin").get(path).json()
    assert (one["status"], one["reason"]) == ("disabled", "the receiver answered 410 Gone")
    assert_problem(shop.as_("admin").post(f"{path}/test"), 409, "webhook-disabled")
    delivery = shop.as_("admin").get(f"{path}/deliveries").json()["items"][0]
    assert (delivery["status"], delivery["last_status"]) == ("FAILED", 410)
    assert_problem(shop.as_("admin").post(f"{path}/deliveries/{delivery['id']}/retry"), 409, "webhook-disabled")
    enabled = shop.as_("admin").post(f"{path}/enable").json()
    assert (enabled["status"], enabled["reason"], enabled["disabled_at"]) == ("active", None, None)
    shop.close()


def test_no_secret_is_ever_logged(one_shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    admin = one_shop.as_("admin")
    with capture_logs() as lines:
        made = make(one_shop)
        rotated = admin.post(f"{PATH}/{made['id']}/rotate-secret").json()
        admin.get(PATH)
        admin.post(f"{PATH}/{made['id']}/test")
        admin.delete(f"{PATH}/{made['id']}")
    logged = "\n".join(map(str, lines)) + caplog.text
    for secret in (made["secret"], rotated["secret"]):
        assert secret.removeprefix("whsec_") not in logged
