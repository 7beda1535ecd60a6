"""A mail server for tests: takes mails, or refuses them, and remembers what it was told."""

from __future__ import annotations

import asyncio
import base64
import ssl
from email import message_from_bytes
from email.message import Message
from email.policy import default

from inventory.mail import MailSettings, mail_settings


class MailServer:
    """`async with MailServer() as server`; plain, with STARTTLS (`tls`), or with TLS from the first byte (`smtps`)."""

    def __init__(self, tls: ssl.SSLContext | None = None, *, smtps: bool = False, host: str = "127.0.0.1") -> None:
        self.mails: list[Message] = []
        self.recipients: list[list[str]] = []
        self.logins: list[str] = []
        self.commands: list[str] = []
        self.refuse = ""
        """A reply instead of taking a mail, such as `451 later`."""
        self.before_reply: asyncio.Event | None = None
        """Set: the reply to a mail waits for it."""
        self.waiting = asyncio.Event()
        self._tls, self._smtps, self._host = tls, smtps, host

    async def __aenter__(self) -> MailServer:
        self._server = await asyncio.start_server(self._serve, self._host, 0, ssl=self._tls if self._smtps else None)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    def settings(self, *, to: str = "ops@shop.example", user: str = "", host: str = "") -> MailSettings:
        scheme = "smtps" if self._smtps else "smtp"
        return mail_settings(f"{scheme}://{user}{host or self._host}:{self.port}", "holdfast@shop.example", to)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(text: str) -> None:
            writer.write(text.encode() + b"\r\n")

        encrypted = self._smtps
        to: list[str] = []
        say("220 test")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            self.commands.append(verb)
            if verb == "EHLO":
                say("250-test")
                if self._tls is not None and not encrypted:
                    say("250-STARTTLS")
                say("250 AUTH PLAIN")
            elif verb == "STARTTLS":
                say("220 go on")
                await writer.drain()
                await writer.start_tls(self._tls)  # type: ignore[arg-type]
                encrypted = True
            elif verb == "AUTH":
                self.logins.append(base64.b64decode(line.split()[2]).decode())
                say("235 welcome")
            elif verb == "RCPT":
                to.append(line.partition("<")[2].rstrip(">"))
                say("250 ok")
            elif verb == "DATA":
                say("354 go on")
                body = (await reader.readuntil(b"\r\n.\r\n"))[:-5]
                self.waiting.set()
                if self.before_reply is not None:
                    await self.before_reply.wait()
                if self.refuse:
                    say(self.refuse)
                else:
                    self.mails.append(message_from_bytes(body, policy=default))
                    self.recipients.append(to)
                    say("250 ok")
                to = []
            elif verb == "QUIT":
                say("221 bye")
                break
            else:
                say("250 ok")
        writer.close()
