"""Keyset pages (AIP-158). A token holds the last row's key and what was asked, under a signature."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.errors import BadRequest

DEFAULT_SIZE: Final = 50
MAX_SIZE: Final = 500
_SIGNATURE_BYTES: Final = 16


# Less than zero is 400, as AIP-158 wants it, and not the 422 of a constraint.
PageSize = Annotated[
    int | None,
    Query(description="50 by default, 500 at most", json_schema_extra={"minimum": 0}),
]
PageToken = Annotated[str | None, Query(description="The `next_page_token` of the page before")]


class InvalidPageToken(BadRequest):
    code = "invalid_page_token"
    title = "Invalid page token"


class InvalidPageSize(BadRequest):
    code = "invalid_page_size"
    title = "Invalid page size"


def page_size(wanted: int | None) -> int:
    """Zero and nothing mean the default, too many the maximum. Raises InvalidPageSize for less than zero."""
    if wanted is not None and wanted < 0:
        raise InvalidPageSize("page_size must not be negative.")
    return min(wanted or DEFAULT_SIZE, MAX_SIZE)


@dataclass(frozen=True, slots=True)
class PageTokens:
    """Signs with a key of the process's settings, so that every process reads the others' tokens."""

    key: bytes

    @classmethod
    def of(cls, pepper: str) -> "PageTokens":
        return cls(hashlib.sha256(b"page-token:" + pepper.encode()).digest())

    def issue(self, query: Mapping[str, Any], position: tuple[str, str] | None) -> str | None:
        """None with the last page. `query` is what must be the same on the next call."""
        if position is None:
            return None
        payload = json.dumps([_digest(query), *position], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(payload) + payload).decode().rstrip("=")

    def read(self, token: str | None, query: Mapping[str, Any]) -> tuple[str, str] | None:
        """Raises InvalidPageToken where it was altered, or belongs to another query."""
        if token is None:
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
            signature, payload = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, self._sign(payload)):
                raise InvalidPageToken("The page token is not one of ours.")
            digest, value, last_id = json.loads(payload)
            if not (isinstance(value, str) and isinstance(last_id, str)):
                raise InvalidPageToken("The page token is not one of ours.")
        except ValueError:
            raise InvalidPageToken("The page token is not one of ours.") from None
        if digest != _digest(query):
            raise InvalidPageToken("The page token belongs to a call with other filters or order.")
        return value, last_id

    def _sign(self, payload: bytes) -> bytes:
        return hmac.digest(self.key, payload, "sha256")[:_SIGNATURE_BYTES]


def answer(items: Sequence[BaseModel], next_page_token: str | None) -> JSONResponse:
    """A page; the last one has no `next_page_token`."""
    body: dict[str, Any] = {"items": [item.model_dump(mode="json") for item in items]}
    if next_page_token is not None:
        body["next_page_token"] = next_page_token
    return JSONResponse(body)


def require_timestamp(value: str) -> None:
    """Raises InvalidPageToken for what PostgreSQL would not read as a time."""
    try:
        datetime.fromisoformat(value)
    except ValueError:
        raise InvalidPageToken("The page token is not one of ours.") from None


def require_number(value: str) -> int:
    """Raises InvalidPageToken for what is no bigint."""
    if not (value.isascii() and value.isdecimal() and int(value) < 2**63):
        raise InvalidPageToken("The page token is not one of ours.")
    return int(value)


def require_uuid(value: str) -> None:
    """Raises InvalidPageToken for what is none."""
    try:
        UUID(value)
    except ValueError:
        raise InvalidPageToken("The page token is not one of ours.") from None


def _digest(query: Mapping[str, Any]) -> str:
    canonical = json.dumps(query, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]
