"""Trying an endpoint, without being led where no tenant has any business."""

import asyncio
import ssl
import time
from datetime import UTC, datetime
from typing import Final

from app.integrations.endpoint import Policy
from app.integrations.model import Fault, Outcome
from app.integrations.pinned import Failed, Pinned, Resolve, resolve

SECONDS: Final = 5.0
# Checks of one process at a time: each may keep a thread in a slow name server.
_AT_ONCE: Final = 8


class Checker:
    """One GET, without credentials, proxies, cookies or redirects; of the answer only its head is read."""

    def __init__(
        self,
        policy: Policy,
        *,
        resolve: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        seconds: float = SECONDS,
    ) -> None:
        self._pinned = Pinned(policy, resolve=resolve, tls=tls, threads=_AT_ONCE)
        self._seconds = seconds
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def check(self, text: str) -> Outcome:
        """`text` is the endpoint's URL, whoever wrote it."""
        checked_at, started = datetime.now(UTC), time.monotonic()
        status, fault = None, None
        try:
            async with asyncio.timeout(self._seconds):
                status = await self._try(text)
        except Failed as error:
            status, fault = error.status, error.fault
        except TimeoutError:
            fault = Fault(code="timed_out", detail=f"There was no answer within {self._seconds:g} s.")
        latency = round((time.monotonic() - started) * 1000, 1)
        return Outcome(status=status, latency_ms=latency, checked_at=checked_at, fault=fault)

    async def _try(self, text: str) -> int:
        """The status of the answer. Raises Failed."""
        self._pinned.allowed(text)  # which needs no turn
        async with self._slots:
            reply = await self._pinned.send(text, method="GET", headers={}, seconds=self._seconds)
        if 300 <= reply.status < 400:
            raise Failed("redirected", "It answered with a redirect, which is not followed.", status=reply.status)
        if reply.status >= 500:
            raise Failed("server_error", f"It answered {reply.status}.", status=reply.status)
        return reply.status
