"""How often a caller may ask, and a stranger guess: decided by this process alone, before anything else is done.

Who a credential belongs to is known once it has been good: until then, whoever sends it is counted by address. So
nobody uses up what is another's by sending their key's id, and a 429 costs no connection to the database.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Network
from typing import Final

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import RateLimited
from app.http.problem import answer_to
from app.log import logger
from app.rate import Buckets, Rate, Taken

_log = logger("app.http")
# Whoever watches over the process must not be told that it asks too often.
_EXEMPT: Final = frozenset({"/livez", "/readyz"})
_CREDENTIALS: Final = (b"authorization", b"x-api-key")
_MOST_KNOWN: Final = 10_000
# Where the operator's page is signed in to: what is tried there stands in a form, and not in a header.
LOGIN: Final = "/ui/login"


class TooManyFailures(RateLimited):
    code = "too_many_failures"
    title = "Too many failed authentications"


class TooManyLogins(RateLimited):
    code = "too_many_logins"
    title = "Too many attempts to sign in"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one caller; of failed authentications from one address, and of attempts to sign in. None for no limit."""

    requests: Rate | None
    failures: Rate | None
    logins: Rate | None = None


class RateLimits:
    """Inside RequestContext, which gives the answer its id and its line in the log."""

    def __init__(self, app: ASGIApp, *, limits: Limits) -> None:
        self._app = app
        self._requests = None if limits.requests is None else Buckets(limits.requests)
        self._failures = None if limits.failures is None else Buckets(limits.failures)
        self._logins = None if limits.logins is None else Buckets(limits.logins)
        # Hashes of credentials that were good the last time, and whose they are.
        self._known: Final[OrderedDict[bytes, str]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _EXEMPT:
            await self._app(scope, receive, send)
            return
        presented = _presented(scope)
        caller = None if presented is None else self._known.get(presented)
        address = _network(scope)
        if self._failures is not None and caller is None and presented is not None:
            refused = self._failures.exhausted(address)
            if refused is not None:
                _log.warning("too_many_failures", address=address)
                error: RateLimited = TooManyFailures(
                    "Too many requests from this address had no valid credentials.", retry_after=refused.retry_after
                )
                await answer_to(Request(scope), error)(scope, receive, send)
                return
        if self._logins is not None and scope["method"] == "POST" and scope["path"] == LOGIN:
            attempt = self._logins.take(address)
            if not attempt.allowed:
                _log.warning("too_many_logins", address=address)
                error = TooManyLogins("Wait a little before you try again.", retry_after=attempt.retry_after)
                await answer_to(Request(scope), error)(scope, receive, send)
                return
        taken = None if self._requests is None else self._requests.take(caller or f"address:{address}")
        answering = _Answering(self, scope, send, presented, address, self._headers(taken))
        if taken is not None and not taken.allowed:
            error = RateLimited("You ask more often than you may.", retry_after=taken.retry_after)
            await answer_to(Request(scope), error)(scope, receive, answering.send)
            return
        await self._app(scope, receive, answering.send)

    def _headers(self, taken: Taken | None) -> list[tuple[bytes, bytes]]:
        """After draft-ietf-httpapi-ratelimit-headers-10."""
        if taken is None or self._requests is None:
            return []
        rate = self._requests.rate
        return [
            (b"ratelimit-policy", b'"caller";q=%d;w=%d' % (rate.quota, rate.window)),
            (b"ratelimit", b'"caller";r=%d;t=%d' % (taken.remaining, taken.reset)),
        ]

    def settle(self, presented: bytes, address: str, *, status: int, caller: str | None) -> None:
        """What became of a request with a credential: `caller` is who it has turned out to be."""
        if status == 401:
            self._known.pop(presented, None)
            if self._failures is not None:
                self._failures.take(address)
        elif caller is not None:
            self._known[presented] = caller
            self._known.move_to_end(presented)
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)


class _Answering:
    def __init__(
        self,
        limits: RateLimits,
        scope: Scope,
        send: Send,
        presented: bytes | None,
        address: str,
        headers: list[tuple[bytes, bytes]],
    ) -> None:
        self._limits = limits
        self._scope = scope
        self._send = send
        self._presented = presented
        self._address = address
        self._headers = headers

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *self._headers]
            if self._presented is not None:
                caller = self._scope["state"].get("caller")
                self._limits.settle(self._presented, self._address, status=message["status"], caller=caller)
        await self._send(message)


def _presented(scope: Scope) -> bytes | None:
    """A hash of what the request brings to be known by; None where that is nothing."""
    found = [value for name, value in scope["headers"] if name in _CREDENTIALS]
    return hashlib.blake2b(b"\0".join(found), digest_size=16).digest() if found else None


def _network(scope: Scope) -> str:
    """The client's address; of IPv6 the network, as each of those has more addresses than can be counted."""
    host: str = scope["client"][0] if scope.get("client") else ""
    if ":" not in host:
        return host
    try:
        return str(IPv6Network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
