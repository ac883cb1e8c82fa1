"""The client itself: one pool of connections, and what can be asked over it."""

import ssl
from types import TracebackType
from typing import Self

import httpx

from app.client import _config
from app.client._async.api_keys import ApiKeys
from app.client._async.audit import Audit
from app.client._async.catalog import Catalog
from app.client._async.config import Config
from app.client._async.features import TenantFeatures
from app.client._async.health import Probes
from app.client._async.integrations import Integrations
from app.client._async.limits import TenantLimits
from app.client._async.monitoring import Monitoring
from app.client._async.operations import Operations
from app.client._async.plans import Plans
from app.client._async.schema import Schema
from app.client._async.tenants import Tenants
from app.client._async.transport import Transport
from app.client._async.webhooks import Webhooks
from app.client._config import Times


class AsyncClient:
    """A typed client of the tenant control plane.

    `base_url` is by default BF_API_URL, `api_key` BF_API_KEY; an access token may take the key's place. In seconds:
    `timeout` is for one answer, beyond what it was asked to wait; `retry_for` is how long a call goes on trying;
    `wait_timeout` is what `wait=True` means. Use it as a context manager, or close it.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout: float = 15,
        retry_for: float = 30,
        wait_timeout: float = 300,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        http = httpx.AsyncClient(
            base_url=_config.base_url(base_url),
            headers=_config.headers(api_key),
            verify=verify,
            limits=_config.LIMITS,
            transport=transport,
        )
        times = Times(timeout=timeout, retry_for=retry_for, wait_timeout=wait_timeout)
        self._assemble(Transport(http=http, times=times))

    def _assemble(self, transport: Transport) -> None:
        self._transport = transport
        self.operations = Operations(transport)
        self.tenants = Tenants(transport, self.operations)
        self.features = TenantFeatures(transport)
        self.catalog = Catalog(transport)
        self.config = Config(transport)
        self.integrations = Integrations(transport)
        self.limits = TenantLimits(transport)
        self.api_keys = ApiKeys(transport)

        self.webhooks = Webhooks(transport)
        self.plans = Plans(transport)
        self.schema = Schema(transport, self.operations)
        self.health = Probes(transport)
        self.audit = Audit(transport)
        self.monitoring = Monitoring(transport)

    def traced(self, *, traceparent: str | None = None, request_id: str | None = None) -> Self:
        """The same client, over the same connections, whose requests carry a caller's trace (W3C) or request id."""
        given = {"traceparent": traceparent, "X-Request-ID": request_id}
        headers = {name: value for name, value in given.items() if value is not None}
        pool = self._transport
        traced = object.__new__(type(self))
        traced._assemble(Transport(http=pool.http, times=pool.times, headers={**pool.headers, **headers}))
        return traced

    async def aclose(self) -> None:
        await self._transport.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport.http.base_url!r})"
