"""client.health: the probes as they answer now (nothing is tried again), figures, and whether tenants are apart."""

import httpx

from app.client import _call
from app.client._answer import api_error, read
from app.client._async.transport import Transport
from app.client.errors import UnexpectedAnswer
from app.client.models import Health, Isolation


class Probes:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def live(self) -> Health:
        return await self._probe("/livez")

    async def ready(self) -> Health:
        """A service that is not ready is a health of status `fail`, and no error."""
        return await self._probe("/readyz")

    async def isolation(self) -> Isolation:
        """What the last look at who may get around row-level security has found."""
        return read(await self._transport.send(_call.get("/v1/isolation")), Isolation)

    async def metrics(self) -> str:
        """Figures for Prometheus, as text: for a key of the role `metrics`."""
        return (await self._transport.send(_call.get("/metrics"))).text

    async def _probe(self, path: str) -> Health:
        response = await self._transport.once(_call.get(path))
        if response.status_code not in {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE}:
            raise api_error(response)
        try:
            return read(response, Health)
        except UnexpectedAnswer:
            if response.is_success:
                raise
            # A proxy's 503, or the service's own before it can look: a problem, not a health.
            raise api_error(response) from None
