"""client.config: a tenant's configuration, its versions, and the way back."""

from collections.abc import Mapping
from typing import Any

from app.client import _call
from app.client._answer import read
from app.client._call import Call, tenant_path
from app.client._sync.pages import Pages
from app.client._sync.transport import Transport
from app.client.errors import PreconditionFailed
from app.client.models import Page
from app.client.settings import Configuration, ConfigVersion


class Config:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, tenant_id: str) -> Configuration:
        """Raises NotFound until the tenant has a schema."""
        return read(self._transport.send(_call.get(_path(tenant_id))), Configuration)

    def replace(
        self, tenant_id: str, document: Mapping[str, Any], *, if_match: str, validate_only: bool = False
    ) -> Configuration:
        """The whole of it: what is left out has its default again. `if_match` is the etag of what it replaces.

        Raises PreconditionFailed where somebody else was first.
        """
        call = _call.put(_path(tenant_id), document, validate_only=validate_only, wait=None, if_match=if_match)
        return self._changed(tenant_id, call)

    def update(
        self, tenant_id: str, patch: Mapping[str, Any], *, if_match: str | None = None, validate_only: bool = False
    ) -> Configuration:
        """JSON Merge Patch: objects are merged, the rest is replaced; None is the default again, and in an object
        removes the member. As replace().
        """
        return self._changed(
            tenant_id, _call.patch(_path(tenant_id), patch, if_match=if_match, validate_only=validate_only)
        )

    def history(
        self, tenant_id: str, *, page_size: int | None = None, page_token: str | None = None
    ) -> Pages[ConfigVersion]:
        """Every version of everything that is configured, the newest first."""
        query = {"page_size": page_size, "page_token": page_token}
        return Pages(self._transport, f"{_path(tenant_id)}/history", Page[ConfigVersion], query)

    def rollback(
        self,
        tenant_id: str,
        version: int,
        *,
        reason: str | None = None,
        if_match: str | None = None,
        validate_only: bool = False,
        idempotency_key: str | None = None,
    ) -> ConfigVersion:
        """A new version that is equal to the old one; the newest there is where nothing was different.

        `if_match` is the etag of the configuration. Raises Conflict for a version that is not valid any more.
        """
        body = {"version": version} if reason is None else {"version": version, "reason": reason}
        call = _call.post(
            f"{_path(tenant_id)}/rollback", body, key=idempotency_key, validate_only=validate_only, if_match=if_match
        )
        return read(self._transport.send(call), ConfigVersion)

    def _changed(self, tenant_id: str, call: Call) -> Configuration:
        try:
            return read(self._transport.send(call), Configuration)
        except PreconditionFailed as error:
            if error.tries == 1:
                raise
            # An earlier try, whose answer was lost, may have made the change, and the new etag with it: then the same
            # change on top of it changes nothing.
            now = self.get(tenant_id)
            again = read(self._transport.send(call.dry(if_match=now.etag)), Configuration)
            if again.document != now.document:
                raise
            return now


def _path(tenant_id: str) -> str:
    return f"{tenant_path(tenant_id)}/config"
