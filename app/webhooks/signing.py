"""Signatures after Standard Webhooks, over CloudEvents 1.0. Pure."""

import base64
import binascii
import hmac
import json
import secrets
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from app.webhooks.model import Event

CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
_PREFIX: Final = "whsec_"
_BYTES: Final = range(24, 65)


def new_secret() -> str:
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Raises ValueError, which says what a secret is and holds no part of this one."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not secret.startswith(_PREFIX) or len(key) not in _BYTES:
        raise ValueError("a signing secret is whsec_ and then 24 to 64 bytes in base64")
    return key


def body_of(event: Event, *, source: str) -> bytes:
    """In structured mode: the event is the body."""
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": str(event.id),
        "source": source,
        "type": event.type,
        "subject": event.subject,
        "time": event.occurred_at.isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "sequence": f"{event.seq:020}",
        "data": event.data,
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def headers_of(message_id: UUID, *, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """A signature by each of the keys: receivers take the message where one of them is theirs."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys)
    return {
        "Content-Type": CONTENT_TYPE,
        "webhook-id": str(message_id),
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
