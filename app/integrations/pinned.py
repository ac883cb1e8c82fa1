"""One HTTP request to where a tenant's or an operator's URL leads, and nowhere else: not to this machine, its network,
its cloud.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final, TypeAlias

import anyio
import anyio.to_thread
import httpx

from app.allow import Address
from app.integrations.endpoint import Endpoint, Policy
from app.integrations.model import Fault

_ADDRESSES: Final = 4
# Seconds that an answer's body has.
_WORDS: Final = 1.0

# Addresses of a name, in the order to try them; raises OSError. It may block.
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]


class Failed(Exception):
    """`status` is what HTTP answered, where it did."""

    def __init__(self, code: str, detail: str, *, status: int | None = None) -> None:
        super().__init__(detail)
        self.fault = Fault(code=code, detail=detail)
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`body` is cut."""

    status: int
    headers: httpx.Headers
    body: bytes


def resolve(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Pinned:
    """Requests without proxies, cookies or redirects.

    A name is resolved once, every address it has must be allowed, and the connection is made to such an address itself:
    a name that has another one a moment later gains nothing. TLS asks for the name all the same. `threads` is how many
    may wait for a slow name server at a time.
    """

    def __init__(
        self, policy: Policy, *, resolve: Resolve = resolve, tls: ssl.SSLContext | None = None, threads: int
    ) -> None:
        self._policy = policy
        self._resolve = resolve
        self._tls = tls
        self._at_once = threads
        self._threads: anyio.CapacityLimiter | None = None

    async def send(
        self,
        url: str,
        *,
        method: str,
        headers: Mapping[str, str],
        content: bytes | None = None,
        seconds: float,
        keep: int = 0,
    ) -> Reply:
        """The first address that takes a connection gets it; `seconds` are for connecting, to all of them together, and
        whatever else takes time is the caller's to bound. Of the answer's body `keep` bytes are read. Raises Failed.
        """
        endpoint = self.allowed(url)
        addresses = await self._addresses(endpoint)
        for last in range(len(addresses) - 1, -1, -1):
            request = _request(endpoint, addresses[~last], method, headers, content, seconds / len(addresses))
            try:
                return await self._answer(request, keep)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                if not last:
                    raise _of(error) from error
            except httpx.TransportError as error:
                raise _of(error) from error
        raise Failed("name_not_resolved", "The endpoint's host has no address.")

    def allowed(self, url: str) -> Endpoint:
        """Whoever wrote it. Raises Failed."""
        try:
            endpoint = Endpoint.parse(url)
        except ValueError as error:
            raise Failed("endpoint_invalid", f"The endpoint {error}.") from error
        refusal = self._policy.refusal(endpoint)
        if refusal is not None:
            raise Failed("endpoint_not_allowed", f"The endpoint {refusal}.")
        return endpoint

    async def _addresses(self, endpoint: Endpoint) -> list[Address]:
        if endpoint.address is not None:
            return [endpoint.address]
        if self._threads is None:
            self._threads = anyio.CapacityLimiter(self._at_once)
        try:
            found = await anyio.to_thread.run_sync(
                self._resolve, endpoint.host, endpoint.port, abandon_on_cancel=True, limiter=self._threads
            )
            addresses = [ip_address(text) for text in found]
        except (OSError, UnicodeError, ValueError) as error:
            raise Failed("name_not_resolved", "The endpoint's host has no address.") from error
        # Which one it was is not said: it would tell of names that only this network knows.
        if not all(self._policy.permits(address, endpoint) for address in addresses):
            detail = (
                "The endpoint's host has an address that is not public, and that BF_INTEGRATION_ALLOW does not have."
            )
            raise Failed("address_not_allowed", detail)
        return addresses[:_ADDRESSES]

    async def _answer(self, request: httpx.Request, keep: int) -> Reply:
        """Raises httpx.TransportError."""
        # It takes some 20 ms of the event loop to make one.
        self._tls = self._tls or httpx.create_ssl_context()
        # A transport, not a client: it knows nothing of redirects, cookies and credentials. trust_env: no proxies.
        async with httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False) as transport:
            response = await transport.handle_async_request(request)
            try:
                body = await _beginning(response, keep) if keep else b""
            finally:
                await response.aclose()
        return Reply(status=response.status_code, headers=response.headers, body=body)


async def _beginning(response: httpx.Response, length: int) -> bytes:
    """As it came, compressed or not: what is small there may be huge otherwise. The status is what counts: nobody waits
    long for words.
    """
    body = b""
    with suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(_WORDS):
            async for chunk in response.aiter_raw():
                body += chunk[: length - len(body)]
                if len(body) >= length:
                    break
    return body


def _request(
    endpoint: Endpoint,
    address: Address,
    method: str,
    headers: Mapping[str, str],
    content: bytes | None,
    seconds: float,
) -> httpx.Request:
    host = f"[{address}]" if isinstance(address, IPv6Address) else str(address)
    return httpx.Request(
        method,
        f"{endpoint.scheme}://{host}:{endpoint.port}{endpoint.target or '/'}",
        headers={"Host": endpoint.authority, "User-Agent": "apg-bf-tenant-admin", "Accept": "*/*", **headers},
        content=content,
        extensions={
            "timeout": {"connect": seconds},
            **({"sni_hostname": endpoint.host} if endpoint.address is None else {}),
        },
    )


def _of(error: httpx.TransportError) -> Failed:
    """What went wrong, in words that hold nothing which the other side has sent."""
    tls = _tls_error(error)
    if tls is not None:
        reason = tls.verify_message if isinstance(tls, ssl.SSLCertVerificationError) else "the handshake failed"
        return Failed("tls_failed", f"There is no trusted TLS connection: {reason}.")
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return Failed("connection_failed", "No connection was made.")
    return Failed("not_http", "What it answered is not HTTP, or ended too soon.")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None
