"""Webhook messages: is it from our Holdfast, is it fresh, and what does it tell (Standard Webhooks, HMAC-SHA256).

Owns the check of the signature. Never remembers what was received before: an event's `id` is the same for every attempt
to deliver it, and a receiver keeps the ids it has dealt with.
"""

from __future__ import annotations

import hmac
import time
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from holdfast_client.errors import WebhookRefused
from holdfast_client.events import Event, read_event

PREFIX: Final = "whsec_"
TOLERANCE_S: Final = 300
_MAX_SIGNATURES: Final = 20


def verify_webhook(
    secret: str | Sequence[str],
    headers: Mapping[str, str],
    body: bytes,
    *,
    tolerance_s: float = TOLERANCE_S,
    now_s: float | None = None,
) -> Event:
    """The event in a webhook message whose signature is right. Raises WebhookRefused: answer that with 400.

    `secret`: as the service gave it (`whsec_...`); several while one is replaced by another. `headers`: of the request,
    names in any case. `body`: its bytes, as they came. `tolerance_s`: how far its time may be from `now_s` (Unix
    seconds, default: now), so that a message that was recorded cannot be sent again later. Raises ValueError for a
    secret that is none.
    """
    keys = [_key(one) for one in ([secret] if isinstance(secret, str) else secret)]
    if not keys:
        raise ValueError("no secret")
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, timestamp, signatures = (lower[f"webhook-{name}"] for name in ("id", "timestamp", "signature"))
    except KeyError as missing:
        raise WebhookRefused(f"no header {missing}") from None
    _check_time(timestamp, tolerance_s, time.time() if now_s is None else now_s)
    signed = f"{message_id}.{timestamp}.".encode("utf-8", "surrogateescape") + body
    good = [b64encode(hmac.digest(key, signed, "sha256")) for key in keys]
    given = [text[3:].encode("utf-8", "surrogateescape") for text in signatures.split()[:_MAX_SIGNATURES]
             if text.startswith("v1,")]  # fmt: skip
    # Every pair is compared, each in constant time: how long it takes tells nothing about how close a guess was.
    if sum(hmac.compare_digest(one, other) for one in good for other in given) == 0:
        raise WebhookRefused("no signature of a secret of ours")
    try:
        return read_event(body)
    except (ValueError, msgspec.MsgspecError) as error:
        raise WebhookRefused(f"signed, but not an event: {error}") from error


def _key(secret: str) -> bytes:
    try:
        return b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        raise ValueError("a webhook secret is whsec_ and base64") from None


def _check_time(timestamp: str, tolerance_s: float, now_s: float) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 20):
        raise WebhookRefused("the timestamp is not Unix seconds")
    age_s = now_s - int(timestamp)
    if abs(age_s) > tolerance_s:
        raise WebhookRefused("the message is too old" if age_s > 0 else "the message is from the future")
