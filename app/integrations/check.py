"""Trying an endpoint, without being led where no tenant has any business: to this machine, its network, its cloud."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeAlias

import anyio
import anyio.to_thread
import httpx

from app.allow import Address
from app.integrations.endpoint import Endpoint, Policy
from app.integrations.model import Fault, Outcome

SECONDS: Final = 5.0
# Checks of one process at a time: each may keep a thread in a slow name server.
_AT_ONCE: Final = 8
_ADDRESSES: Final = 4

# Addresses of a name, in the order to try them; raises OSError. It may block.
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]


class _Failed(Exception):
    def __init__(self, code: str, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.fault = Fault(code=code, detail=detail)
        self.status = status


def resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Checker:
    """One GET, without credentials, proxies, cookies or redirects; of the answer only its head is read.

    A name is resolved once, every address it has must be allowed, and the connection is made to such an address itself:
    a name that has another one a moment later gains nothing. TLS asks for the name all the same.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._seconds = seconds
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._threads: anyio.CapacityLimiter | None = None

    async def check(self, text: str) -> Outcome:
        """`text` is the endpoint's URL, whoever wrote it."""
        checked_at, started = datetime.now(UTC), time.monotonic()
        status, fault = None, None
        try:
            async with asyncio.timeout(self._seconds):
                status = await self._try(text)
        except _Failed as error:
            status, fault = error.status, error.fault
        except TimeoutError:
            fault = Fault(code="timed_out", detail=f"There was no answer within {self._seconds:g} s.")
        latency = round((time.monotonic() - started) * 1000, 1)
        return Outcome(status=status, latency_ms=latency, checked_at=checked_at, fault=fault)

    async def _try(self, text: str) -> int:
        """The status of the answer. Raises _Failed."""
        endpoint = self._allowed(text)
        async with self._slots:
            return await self._first_answer(endpoint, await self._addresses(endpoint))

    async def _first_answer(self, endpoint: Endpoint, addresses: Sequence[Address]) -> int:
        for last in range(len(addresses) - 1, -1, -1):
            try:
                return await self._answer(endpoint, addresses[~last], seconds=self._seconds / len(addresses))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if not last:
                    raise _of(error) from error
            except httpx.TransportError as error:
                raise _of(error) from error
        raise _Failed("name_not_resolved", "The endpoint's host has no address.")

    def _allowed(self, text: str) -> Endpoint:
        try:
            endpoint = Endpoint.parse(text)
        except ValueError as error:
            raise _Failed("endpoint_invalid", f"The endpoint {error}.") from error
        refusal = self._policy.refusal(endpoint)
        if refusal is not None:
            raise _Failed("endpoint_not_allowed", f"The endpoint {refusal}.")
        return endpoint

    async def _addresses(self, endpoint: Endpoint) -> list[Address]:
        if endpoint.address is not None:
            return [endpoint.address]
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(_AT_ONCE)
        try:
            found = await anyio.to_thread.run_sync(
                self._resolve, endpoint.host, endpoint.port, abandon_on_cancel=True, limiter=self._threads
            )
            addresses = [ip_address(text) for text in found]
        except (OSError, UnicodeError, ValueError) as error:
            raise _Failed("name_not_resolved", "The endpoint's host has no address.") from error
        # Which one it was is not said: it would tell of names that only this network knows.
        if not all(self._policy.permits(address, endpoint) for address in addresses):
            detail = (
                "The endpoint's host has an address that is not public, and that BF_INTEGRATION_ALLOW does not have."
            )
            raise _Failed("address_not_allowed", detail)
        return addresses[:_ADDRESSES]

    async def _answer(self, endpoint: Endpoint, address: Address, *, seconds: float) -> int:
        """`seconds` are for connecting. Raises httpx.TransportError, and _Failed for an answer that is not enough."""
        host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
        request = httpx.Request(
            "GET",
            f"{endpoint.scheme}://{host}:{endpoint.port}{endpoint.target or '/'}",
            headers={"Host": endpoint.authority, "User-Agent": "apg-bf-tenant-admin", "Accept": "*/*"},
            extensions={
                "timeout": {"connect": seconds},
                **({"sni_hostname": endpoint.host} if endpoint.address is None else {}),
            },
        )
        # A transport, not a client: it knows nothing of redirects, cookies and credentials. trust_env: no proxies.
        tls = self._tls or httpx.create_ssl_context()
        async with httpx.AsyncHTTPTransport(verify=tls, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            await response.aclose()
        status = response.status_code
        if 300 <= status < 400:
            raise _Failed("redirected", "It answered with a redirect, which is not followed.", status=status)
        if status >= 500:
            raise _Failed("server_error", f"It answered {status}.", status=status)
        return status


def _of(error: httpx.TransportError) -> _Failed:
    """What went wrong, in words that hold nothing which the other side has sent."""
    tls = _tls_error(error)
    if tls is not None:
        reason = tls.verify_message if isinstance(tls, ssl.SSLCertVerificationError) else "the handshake failed"
        return _Failed("tls_failed", f"There is no trusted TLS connection: {reason}.")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return _Failed("connection_failed", "No connection was made.")
    return _Failed("not_http", "What it answered is not HTTP, or ended too soon.")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
