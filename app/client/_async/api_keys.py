"""client.api_keys: who may call."""

from datetime import datetime
from typing import Any

from app.client import _call
from app.client._answer import read
from app.client._async.pages import Pages
from app.client._async.transport import Transport
from app.client._call import api_key_path
from app.client.models import ApiKey, NewApiKey, Page

_PATH = "/v1/api-keys"


class ApiKeys:
    """All of it needs an admin's key or token."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self, *, page_size: int | None = None) -> Pages[ApiKey]:
        """The newest first, revoked and expired ones too."""
        return Pages(self._transport, _PATH, Page[ApiKey], {"page_size": page_size})

    async def get(self, key_id: str) -> ApiKey:
        """Raises NotFound."""
        return read(await self._transport.send(_call.get(api_key_path(key_id))), ApiKey)

    async def create(
        self,
        name: str,
        role: str,
        *,
        tenant_id: str | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
        validate_only: bool = False,
    ) -> NewApiKey:
        """`key` of it is shown this once. It is None where an earlier try had made it, and its answer was lost: then
        revoke it, and make another.
        """
        body: dict[str, Any] = {"name": name, "role": role, "tenant_id": tenant_id, "expires_at": expires_at}
        call = _call.post(_PATH, body, key=idempotency_key, validate_only=validate_only)
        return read(await self._transport.send(call), NewApiKey)

    async def rotate(
        self,
        key_id: str,
        *,
        overlap_seconds: int | None = None,
        idempotency_key: str | None = None,
        validate_only: bool = False,
    ) -> NewApiKey:
        """A key in its place; the old one works for the overlap, by default a day. `key` is as create() has it.

        Raises Conflict where it is revoked, expired or was rotated before.
        """
        body = {} if overlap_seconds is None else {"overlap_seconds": overlap_seconds}
        path = f"{api_key_path(key_id)}/rotate"
        call = _call.post(path, body, key=idempotency_key, validate_only=validate_only)
        return read(await self._transport.send(call), NewApiKey)

    async def revoke(self, key_id: str, *, even_the_last: bool = False, validate_only: bool = False) -> None:
        """Every process refuses it within 5 seconds. Raises NotFound, and Conflict for the last admin key unless it may
        be `even_the_last`.
        """
        query = {"even_the_last": "true"} if even_the_last else None
        await self._transport.send(_call.delete(api_key_path(key_id), query, validate_only=validate_only))
