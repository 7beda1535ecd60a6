"""Signing as Standard Webhooks has it: secrets, and the three headers by which a receiver knows who sent a message.

Owns the headers; the signature itself is the standardwebhooks package's. Never shows a secret: `SigningSecrets` has no
readable repr, so that no log line or traceback can carry one.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from datetime import datetime
from typing import Final

from msgspec import Struct
from standardwebhooks import Webhook as Signer

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


class SigningSecrets(Struct, frozen=True):
    """The secret of a webhook, and the one before it while that is still good."""

    current: str
    previous: str | None = None

    def __repr__(self) -> str:
        return "SigningSecrets(...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


def new_secret() -> str:
    """A fresh secret: 256 random bits."""
    return PREFIX + b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def signature_headers(keys: SigningSecrets, message_id: str, sent_at: datetime, body: str) -> dict[str, str]:
    """`webhook-id`, `webhook-timestamp` and `webhook-signature` of one attempt.

    `message_id` is the same for every attempt at an event, `sent_at` (UTC) is the attempt's own. During a rotation
    there are two signatures, and a receiver is content with either.
    """
    good = [keys.current] if keys.previous is None else [keys.current, keys.previous]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(sent_at.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(message_id, sent_at, body) for secret in good),
    }
