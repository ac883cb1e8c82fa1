"""client.health: how the service is, as it answers at this moment: nothing is tried again. And how tenants are."""

from typing import TypeVar

import httpx

from app.client import _call
from app.client._answer import api_error, read
from app.client._call import tenant_path
from app.client._sync.transport import Transport
from app.client.errors import UnexpectedAnswer
from app.client.health import HealthSummary, TenantHealth
from app.client.models import Health, Isolation

M = TypeVar("M", Health, HealthSummary)


class Probes:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def live(self) -> Health:
        return self._probe("/livez", Health)

    def ready(self) -> Health:
        """A service that is not ready is a health of status `fail`, and no error."""
        return self._probe("/readyz", Health)

    def summary(self) -> HealthSummary:
        """A service that fails is a summary of status `fail`, and no error."""
        return self._probe("/health", HealthSummary)

    def tenant(self, tenant_id: str) -> TenantHealth:
        """How a tenant is, why, and what mends it; how it grows, and when that reaches its limits."""
        return read(self._transport.send(_call.get(f"{tenant_path(tenant_id)}/health")), TenantHealth)

    def isolation(self) -> Isolation:
        """What the last look at who may get around row-level security has found."""
        return read(self._transport.send(_call.get("/v1/isolation")), Isolation)

    def metrics(self) -> str:
        """Figures for Prometheus, as text: for a key of the role `metrics`."""
        return (self._transport.send(_call.get("/metrics"))).text

    def _probe(self, path: str, model: type[M]) -> M:
        response = self._transport.once(_call.get(path))
        if response.status_code not in {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}:
            raise api_error(response)
        try:
            return read(response, model)
        except UnexpectedAnswer:
            if response.is_success:
                raise
            # A proxy's 503, or the service's own before it can look: a problem, not a health.
            raise api_error(response) from None
