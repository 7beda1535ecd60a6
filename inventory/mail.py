"""Mails of the service: one plain text at a time over SMTP, to the addresses the shop has set.

Owns the connection to the mail server; never decides what is told or whether it was told before.
"""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from email.message import EmailMessage
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

MAIL_TIMEOUT_S: Final = 20.0
"""For each answer of the mail server."""
_PORTS: Final = {"smtp": 25, "smtps": 465}
_LOCAL: Final = {"localhost", "127.0.0.1", "::1"}


class MailInvalid(ValueError):
    """A mail setting cannot be used; the message never shows a password."""


class MailNotSent(Exception):
    """The mail server was not reached, or did not take the mail; it may be tried again."""


class MailSettings(Struct, frozen=True, kw_only=True):
    """Where mails go and by which server. Made by `mail_settings`, which checks it."""

    host: str
    port: int
    tls: bool
    """TLS from the first byte (smtps); without it STARTTLS is used when the server offers it."""
    user: str
    password: str
    sender: str
    to: tuple[str, ...]

    def __repr__(self) -> str:
        return f"MailSettings({self.host}:{self.port})"

    def __rich_repr__(self) -> Any:
        yield repr(self)


def mail_settings(url: str, sender: str, to: str) -> MailSettings:
    """Settings from `smtp[s]://[user:password@]host[:port]`, an address, and addresses with commas between.

    Raises MailInvalid.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise MailInvalid("the mail server must be written as smtp[s]://[user:password@]host[:port]") from None
    if parts.scheme not in _PORTS or not parts.hostname or parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise MailInvalid("the mail server must be written as smtp[s]://[user:password@]host[:port]")
    return MailSettings(
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        tls=parts.scheme == "smtps",
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        sender=_address(sender),
        to=tuple(_address(one) for one in to.split(",")),
    )


def _address(text: str) -> str:
    """One plain address. Raises MailInvalid."""
    address = text.strip()
    name, at, host = address.rpartition("@")
    if not (name and at and host) or not address.isascii() or not address.isprintable() or set(address) & set(' ,;<>"'):
        raise MailInvalid(f"not a mail address: {address[:80]!r}")
    return address


def compose(settings: MailSettings, message_id: str, subject: str, body: str) -> EmailMessage:
    """A mail in plain text. `message_id` names its content, so that a mail sent twice can be seen to be one.

    Raises ValueError for a subject with a line break: EmailMessage takes no header that could become two.
    """
    mail = EmailMessage()
    mail["From"] = settings.sender
    mail["To"] = ", ".join(settings.to)
    mail["Subject"] = subject
    mail["Date"] = formatdate()
    mail["Message-ID"] = f"<{message_id}@{settings.sender.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(body)
    return mail


async def send(settings: MailSettings, mail: EmailMessage) -> None:
    """Hand a mail to the server. Raises MailNotSent; then it may have been taken all the same."""
    try:
        await asyncio.to_thread(_send, settings, mail)
    except (smtplib.SMTPException, OSError) as error:
        # The server's own words may repeat what was sent to it: only its number is told.
        number = getattr(error, "smtp_code", None)
        raise MailNotSent(f"{type(error).__name__}{f' {number}' if number else ''}") from None


def _send(settings: MailSettings, mail: EmailMessage) -> None:
    context = ssl.create_default_context()
    if settings.tls:
        server: smtplib.SMTP = smtplib.SMTP_SSL(settings.host, settings.port, timeout=MAIL_TIMEOUT_S, context=context)
    else:
        server = smtplib.SMTP(settings.host, settings.port, timeout=MAIL_TIMEOUT_S)
    with server:
        server.ehlo()
        if not settings.tls and server.has_extn("starttls"):
            server.starttls(context=context)
            server.ehlo()
        elif not settings.tls and settings.user and settings.host not in _LOCAL:
            raise smtplib.SMTPException("no password goes over a connection that is not encrypted")
        if settings.user:
            server.login(settings.user, settings.password)
        server.send_message(mail)
