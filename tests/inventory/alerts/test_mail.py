"""Mails of alerts and digests, against a real (small) mail server."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import pytest
import trustme

from inventory.alerts.alert_mail import duration, mail_alerts
from inventory.alerts.digest import make_digest
from inventory.mail import MailInvalid, MailNotSent, compose, mail_settings, send
from inventory.rules import DigestSettings
from tests.inventory.alerts.conftest import Shop
from tests.inventory.alerts.mail_server import MailServer

LOW, OUT = "LOW_STOCK", "OUT_OF_STOCK"


async def test_one_mail_for_many_alerts_and_none_twice(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.product("B", 3, 0)
    await shop.hold("B", 3)
    await shop.follow()
    async with MailServer() as server:
        inventory = shop.with_settings(mail=server.settings(to="ops@shop.example, boss@shop.example"))
        assert await mail_alerts(inventory) == "mailed 2 alerts"
        assert await mail_alerts(inventory) == "nothing new to tell"
        (mail,) = server.mails
        assert server.recipients == [["ops@shop.example", "boss@shop.example"]]
        assert mail["Subject"] == "Holdfast: 1 out of stock, 1 running low"
        assert mail["From"] == "holdfast@shop.example"
        first, second = mail.get_payload().strip().splitlines()  # type: ignore[union-attr]
        assert first.startswith("B: out of stock (alert ")
        assert second.startswith("A: 5 left, threshold 10 (alert ")
        assert shop.alerts() == [(LOW, "NOTIFIED", "open"), (OUT, "NOTIFIED", "open")]
        # Worse is told again; resolved is not.
        await shop.hold("A", 5)
        await shop.adjust("B", 50)
        await shop.follow()
        assert shop.alerts() == [(OUT, "PENDING", "open"), (OUT, "RESOLVED", "over")]
        assert await mail_alerts(inventory) == "mailed 1 alerts"
        assert server.mails[1]["Subject"] == "Holdfast: 1 out of stock"


async def test_a_webhook_that_told_does_not_keep_the_mail_back(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.follow()
    shop.rows("UPDATE alerts SET status = 'NOTIFIED', notified_at = now()")
    async with MailServer() as server:
        assert await mail_alerts(shop.with_settings(mail=server.settings())) == "mailed 1 alerts"


async def test_without_a_channel_nobody_was_told(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.follow()
    assert await mail_alerts(shop.inventory) == "no mail server is set"
    assert shop.alerts() == [(LOW, "PENDING", "open")]


async def test_a_mail_that_was_refused_is_sent_the_next_time(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.follow()
    async with MailServer() as server:
        inventory = shop.with_settings(mail=server.settings())
        server.refuse = "451 later, mind your words: secret"
        with pytest.raises(MailNotSent) as caught:
            await mail_alerts(inventory)
        assert "secret" not in str(caught.value)
        assert shop.alerts() == [(LOW, "PENDING", "open")]
        server.refuse = ""
        assert await mail_alerts(inventory) == "mailed 1 alerts"
    with pytest.raises(MailNotSent):
        await send(server.settings(), compose(server.settings(), "x", "closed", ""))


async def test_two_senders_tell_once_and_a_dead_one_is_replaced(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.follow()
    async with MailServer() as server:
        inventory = shop.with_settings(mail=server.settings())
        server.before_reply = asyncio.Event()
        first = asyncio.create_task(mail_alerts(inventory))
        await server.waiting.wait()
        assert await mail_alerts(inventory) == "nothing new to tell"
        # It gets worse while the mail is on its way: that mail is not news of it.
        await shop.hold("A", 5)
        await shop.follow()
        server.before_reply.set()
        assert await first == "mailed 1 alerts"
        assert shop.alerts() == [(OUT, "PENDING", "open")]
        # A sender that was killed has claimed the alert and said nothing since.
        shop.rows("UPDATE alerts SET mail_claimed_at = clock_timestamp()")
        assert await mail_alerts(inventory) == "nothing new to tell"
        shop.rows("UPDATE alerts SET mail_claimed_at = clock_timestamp() - interval '181 seconds'")
        assert await mail_alerts(inventory) == "mailed 1 alerts"
        assert [mail["Subject"] for mail in server.mails] == [
            "Holdfast: 1 running low",
            "Holdfast: 1 out of stock",
        ]


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


@pytest.mark.parametrize("smtps", [False, True])
async def test_passwords_go_over_tls(tls: ssl.SSLContext, smtps: bool) -> None:
    async with MailServer(tls, smtps=smtps) as server:
        settings = server.settings(user="ann:p%40ss@")
        await send(settings, compose(settings, "x", "hello", "there"))
        assert server.logins == ["\0ann\0p@ss"]
        assert ("STARTTLS" in server.commands) != smtps
        assert len(server.mails) == 1


async def test_no_password_goes_to_another_machine_in_plain_text() -> None:
    async with MailServer(host="127.0.0.2") as server:
        settings = server.settings(user="ann:secret@")
        with pytest.raises(MailNotSent):
            await send(settings, compose(settings, "x", "hello", "there"))
        assert server.logins == []
        assert server.mails == []


def test_a_header_stays_one_header() -> None:
    settings = mail_settings("smtp://localhost", "a@b", "c@d")
    for subject in ("x\r\nBcc: everybody@example.com", "x\nBcc: y", "x\ry"):
        with pytest.raises(ValueError, match=r"linefeed|return"):
            compose(settings, "id", subject, "body")


@pytest.mark.parametrize(
    ("url", "sender", "to"),
    [
        ("http://host", "a@b", "c@d"),
        ("smtp://", "a@b", "c@d"),
        ("smtp://host:port", "a@b", "c@d"),
        ("smtp://host/path", "a@b", "c@d"),
        ("smtp://host?x=1", "a@b", "c@d"),
        ("host", "a@b", "c@d"),
        ("smtp://host", "a", "c@d"),
        ("smtp://host", "a@b\r\nBcc: x@y", "c@d"),
        ("smtp://host", "a@b", ""),
        ("smtp://host", "a@b", "c@d,,e@f"),
        ("smtp://host", "a@b", "Ann <c@d>"),
    ],
)
def test_bad_settings_are_refused_without_showing_a_password(url: str, sender: str, to: str) -> None:
    with pytest.raises(MailInvalid) as caught:
        mail_settings(url.replace("://", "://ann:hunter2@", 1), sender, to)
    assert "hunter2" not in str(caught.value)


def test_settings_do_not_show_the_password() -> None:
    assert "hunter2" not in repr(mail_settings("smtp://ann:hunter2@host", "a@b", "c@d"))


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 seconds"), (119, "119 seconds"), (120, "2 minutes"), (7200, "2 hours"), (10**6, "11 days")],
)
def test_durations(seconds: int, said: str) -> None:
    assert duration(seconds) == said


NINE = DigestSettings(at=time(9), time_zone="UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def test_the_digest_is_made_once_a_day(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    await shop.product("B", 3, 0)
    await shop.hold("B", 3)
    await shop.product("OFF", 1, 10, active=False)
    await shop.follow()
    inventory = shop.with_settings(digest=NINE)
    assert await make_digest(inventory, at("2026-03-01 08:59:59")) == "next at 09:00"
    said = await make_digest(inventory, at("2026-03-01 09:00"))
    assert said == "2026-03-01: 1 low, 1 out of stock, 2 alerts open"
    await shop.hold("A", 5)
    # Later, again, by several at once, or after the day: what was made stays.
    assert await asyncio.gather(*(make_digest(inventory, at("2026-03-01 23:59")) for _ in range(3))) == [said] * 3
    assert (await make_digest(inventory, at("2026-03-02 00:00"))).endswith(
        "; yesterday: 1 low, 1 out of stock, 2 alerts open"
    )
    assert len(shop.rows("SELECT day FROM stock_digests")) == 1
    await make_digest(inventory, at("2026-03-02 09:30"))
    assert len(shop.rows("SELECT day FROM stock_digests")) == 2


async def test_several_who_are_first_make_one(shop: Shop) -> None:
    async with MailServer() as server:
        inventory = shop.with_settings(digest=NINE, mail=server.settings())
        await asyncio.gather(*(make_digest(inventory, at("2026-03-01 09:00")) for _ in range(4)))
        assert len(server.mails) == 1
    assert len(shop.rows("SELECT day FROM stock_digests")) == 1


async def test_a_digest_whose_sender_was_killed_is_mailed_by_the_next(shop: Shop) -> None:
    await make_digest(shop.with_settings(digest=NINE), at("2026-03-01 09:00"))
    async with MailServer() as server:
        inventory = shop.with_settings(digest=NINE, mail=server.settings())
        shop.rows("UPDATE stock_digests SET mail_claimed_at = clock_timestamp()")
        assert not (await make_digest(inventory, at("2026-03-01 09:01"))).endswith("; mailed")
        shop.rows("UPDATE stock_digests SET mail_claimed_at = clock_timestamp() - interval '181 seconds'")
        assert (await make_digest(inventory, at("2026-03-01 09:02"))).endswith("; mailed")
        assert len(server.mails) == 1


async def test_the_digest_tells_yesterday_of_the_shops_own_days(shop: Shop) -> None:
    await shop.product("A", 5, 10)
    # Berlin goes to summer time on 29 March 2026: that day is from 23:00 UTC of the 28th to 22:00 of the 29th.
    for seq, (moment, quantity, kind) in enumerate(
        [
            ("2026-03-28 22:59:59", 1, "IN"),
            ("2026-03-28 23:00:00", 10, "IN"),
            ("2026-03-29 21:59:59", -4, "OUT"),
            ("2026-03-29 12:00:00", -3, "OUT"),
            ("2026-03-29 22:00:00", -2, "OUT"),
        ],
        1000,
    ):
        shop.rows(
            "INSERT INTO inventory_transactions (seq, quantity, previous_stock, new_stock, created_at, partition,"
            " epoch, line, sku, transaction_type, reference_type, reference_id, created_by)"
            " VALUES (%s, %s, 100, 100 + %s, %s, 0, 1, 0, 'A', %s, '', '', 'x')",
            seq, quantity, quantity, at(moment), kind,
        )  # fmt: skip
    async with MailServer() as server:
        inventory = shop.with_settings(
            digest=DigestSettings(at=time(9), time_zone="Europe/Berlin"), mail=server.settings()
        )
        assert (await make_digest(inventory, at("2026-03-30 06:59"))).startswith("next at 09:00")
        server.refuse = "451 later"
        with pytest.raises(MailNotSent):
            await make_digest(inventory, at("2026-03-30 07:00"))
        server.refuse = ""
        assert (await make_digest(inventory, at("2026-03-30 07:01"))).endswith("; mailed")
        assert not (await make_digest(inventory, at("2026-03-30 07:02"))).endswith("; mailed")
        (mail,) = server.mails
    text = mail.get_payload()
    assert isinstance(text, str)
    assert "Stock on 2026-03-30 09:00 (CEST)" in text
    assert "Movements of 2026-03-29:" in text
    assert "IN: 1 rows, +10 units" in text
    assert "OUT: 2 rows, -7 units" in text
    assert "A: 5 left, threshold 10; 5 on hand, 0 held" in text
    assert mail["Subject"].startswith("Holdfast: 2026-03-30, 1 low, 0 out of stock")


async def test_long_lists_are_cut(shop: Shop) -> None:
    for number in range(55):
        await shop.product(f"S{number:02}", 1, 10)
    await make_digest(shop.with_settings(digest=NINE), at("2026-03-01 12:00") + timedelta(days=1))
    ((body,),) = shop.rows("SELECT body FROM stock_digests")
    assert "S49" in body
    assert "S50" not in body
    assert "and 5 more" in body
