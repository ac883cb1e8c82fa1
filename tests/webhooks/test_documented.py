"""The snippet of docs/webhooks.md, as a receiver would paste it."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks.webhooks import Webhook

from app.webhooks import signing
from app.webhooks.model import Event, EventType

_DOCUMENT = (Path(__file__).parents[2] / "docs/webhooks.md").read_text()


def _snippet() -> Callable[[bytes, dict[str, str], str], dict[str, Any]]:
    found = re.search(r"```python\n(.*?)```", _DOCUMENT, re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(compile(found[1], "docs/webhooks.md", "exec"), names)  # noqa: S102
    verified: Callable[[bytes, dict[str, str], str], dict[str, Any]] = names["verified"]
    return verified


def _signed(*secrets: str, age: int = 0) -> tuple[bytes, dict[str, str]]:
    event = Event(
        seq=7, id=uuid4(), type=EventType.TENANT_CREATED, subject="tenant/acme", about_tenant="acme",
        occurred_at=datetime.now(UTC), data={"name": "Æ"},
    )  # fmt: skip
    body = signing.body_of(event, source="urn:test")
    keys = [signing.key_of(secret) for secret in secrets]
    return body, signing.headers_of(event.id, timestamp=int(time.time()) - age, body=body, keys=keys)


def test_the_documented_snippet_takes_what_the_library_takes() -> None:
    verified, old, new = _snippet(), signing.new_secret(), signing.new_secret()
    body, headers = _signed(new, old)
    for secret in (old, new):
        assert verified(body, headers, secret) == Webhook(secret).verify(body, headers)
    for wrong_body, wrong_secret in ((body + b" ", new), (body, signing.new_secret())):
        with pytest.raises(ValueError, match="not signed"):
            verified(wrong_body, headers, wrong_secret)
    with pytest.raises(ValueError, match="too old"):
        verified(*_signed(new, age=301), new)


def test_every_type_is_documented() -> None:
    for kind in EventType:
        name = kind.removeprefix("platform.apg.bf.")
        assert f"`{name}`" in _DOCUMENT or f"`.{name.partition('.')[2]}`" in _DOCUMENT, name
