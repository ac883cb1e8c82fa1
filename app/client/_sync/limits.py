"""client.limits: what a tenant may use, how much of it it does, and what limits there are."""

from collections.abc import Mapping
from typing import Any

from app.client import _call
from app.client._answer import read
from app.client._call import limit_path, tenant_path
from app.client._sync.transport import Transport
from app.client.errors import PreconditionFailed
from app.client.settings import Limit, Limits, TenantUsage


class LimitCatalogue:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Limit, ...]:
        """By name."""
        answer = self._transport.send(_call.get("/v1/catalog/limits"))
        return tuple(Limit.model_validate(item) for item in answer.json()["items"])

    def get(self, name: str) -> Limit:
        return read(self._transport.send(_call.get(limit_path(name))), Limit)

    def put(self, name: str, *, unit: str, maximum: int, validate_only: bool = False, **others: Any) -> Limit:
        """Adds it, or says all of it anew. `others`: description, minimum, default, tiers, enforcement."""
        body = {"unit": unit, "maximum": maximum, **others}
        call = _call.put(limit_path(name), body, validate_only=validate_only, wait=None)
        return read(self._transport.send(call), Limit)


class TenantLimits:
    """`catalogue` has the limits that there are."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.catalogue = LimitCatalogue(transport)

    def get(self, tenant_id: str) -> Limits:
        return read(self._transport.send(_call.get(f"{tenant_path(tenant_id)}/limits")), Limits)

    def update(
        self,
        tenant_id: str,
        changes: Mapping[str, int | None],
        *,
        if_match: str | None = None,
        validate_only: bool = False,
    ) -> Limits:
        """The limits after the change; None goes back to what the tier or the default says. With `if_match`, their
        etag, it is tried again as other calls are.

        Raises PreconditionFailed where somebody else was first.
        """
        path = f"{tenant_path(tenant_id)}/limits"
        call = _call.patch(path, changes, if_match=if_match, validate_only=validate_only)
        try:
            return read(self._transport.send(call), Limits)
        except PreconditionFailed as error:
            if error.tries == 1:
                raise
            # An earlier try, whose answer was lost, may have made the change, and the new etag with it.
            limits = self.get(tenant_id)
            if not _have(limits, changes):
                raise
            return limits

    def usage(self, tenant_id: str) -> TenantUsage:
        """Raises Unavailable where the service may not read as the audit role: the problem has the GRANT."""
        return read(self._transport.send(_call.get(f"{tenant_path(tenant_id)}/usage")), TenantUsage)


def _have(limits: Limits, changes: Mapping[str, int | None]) -> bool:
    return all(
        limits.sources.get(name) != "tenant" if value is None else limits.values.get(name) == value
        for name, value in changes.items()
    )
