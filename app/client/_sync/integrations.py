"""client.integrations: what a tenant is connected with."""

from collections.abc import Mapping
from typing import Any, Unpack

from app.client import _call
from app.client._answer import read
from app.client._call import integration_path, tenant_path
from app.client._sync.transport import Transport
from app.client.errors import NotFound, PreconditionFailed, PreconditionRequired
from app.client.settings import Integration, IntegrationCheck, IntegrationList, IntegrationSettings


class Integrations:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def every(self, tenant_id: str) -> list[Integration]:
        """All of a tenant, by capability."""
        response = self._transport.send(_call.get(f"{tenant_path(tenant_id)}/integrations"))
        return [*read(response, IntegrationList).items]

    def get(self, tenant_id: str, capability: str) -> Integration:
        """Raises NotFound where the tenant has none."""
        return read(self._transport.send(_call.get(integration_path(tenant_id, capability))), Integration)

    def put(
        self,
        tenant_id: str,
        capability: str,
        *,
        if_match: str | None = None,
        validate_only: bool = False,
        credentials: Mapping[str, str | None] | None = None,
        **settings: Unpack[IntegrationSettings],
    ) -> Integration:
        """The integration with these settings and no others. Of its credentials, those that are named are set, or
        removed by None, and the others stay.

        Raises PreconditionRequired where there is one already and no `if_match`, its etag, is given;
        PreconditionFailed where somebody else was first.
        """
        body: dict[str, Any] = {**settings}
        if credentials:
            body["credentials"] = dict(credentials)
        path = integration_path(tenant_id, capability)
        call = _call.put(path, body, if_match=if_match, validate_only=validate_only, wait=None)
        try:
            return read(self._transport.send(call), Integration)
        except (PreconditionFailed, PreconditionRequired) as error:
            if error.tries == 1 or credentials:
                raise
            # An earlier try, whose answer was lost, may have made the change, and the new etag with it.
            found = self.get(tenant_id, capability)
            if any(getattr(found, name, None) != value for name, value in settings.items()):
                raise
            return found

    def delete(
        self, tenant_id: str, capability: str, *, if_match: str | None = None, validate_only: bool = False
    ) -> None:
        """With its credentials. Raises NotFound where the tenant has none."""
        call = _call.delete(integration_path(tenant_id, capability), if_match=if_match, validate_only=validate_only)
        try:
            self._transport.send(call)
        except NotFound as error:
            if error.tries == 1:
                raise  # else an earlier try, whose answer was lost, has removed it

    def check(self, tenant_id: str, capability: str, *, idempotency_key: str | None = None) -> IntegrationCheck:
        """How its endpoint answers the service. That it does not is no exception: see `ok` and `error`."""
        path = f"{integration_path(tenant_id, capability)}/check"
        return read(self._transport.send(_call.post(path, key=idempotency_key)), IntegrationCheck)
