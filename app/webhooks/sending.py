"""One delivery over HTTP, and what is made of how it went."""

import asyncio
import random
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from app.integrations.model import Fault
from app.integrations.pinned import Failed, Pinned, Reply
from app.webhooks import signing
from app.webhooks.model import Attempt, DeliveryStatus, Event

# Of one try, from the name server to the head of the answer.
SECONDS: Final = 10.0
_KEPT: Final = 1024
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 6 * 3600.0
# However long a receiver asks for.
_LONGEST_ASKED: Final = 24 * 3600.0
_random: Final = random.SystemRandom()


class Sender:
    """`source` is the `source` of every event: who tells it."""

    def __init__(self, pinned: Pinned, *, source: str, seconds: float = SECONDS) -> None:
        self._pinned = pinned
        self._source = source
        self._seconds = seconds

    async def send(self, url: str, event: Event, keys: Sequence[bytes]) -> Attempt:
        body = signing.body_of(event, source=self._source)
        headers = signing.headers_of(event.id, timestamp=int(time.time()), body=body, keys=keys)
        started = time.monotonic()
        reply, fault = None, None
        try:
            async with asyncio.timeout(self._seconds):
                reply = await self._pinned.send(
                    url, method="POST", headers=headers, content=body, seconds=self._seconds, keep=_KEPT
                )
        except Failed as error:
            fault = error.fault
        except TimeoutError:
            fault = Fault(code="timed_out", detail=f"There was no answer within {self._seconds:g} s.")
        latency = round((time.monotonic() - started) * 1000, 1)
        if reply is None:
            return Attempt(latency_ms=latency, fault=fault)
        return Attempt(
            status=reply.status,
            latency_ms=latency,
            body=_text(reply.body),
            fault=_fault(reply.status),
            retry_after=_retry_after(reply),
        )


def _fault(status: int) -> Fault | None:
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        return Fault(code="redirected", detail="It answered with a redirect, which is not followed.")
    if status == 410:
        return Fault(code="gone", detail="It answered 410: the webhook is disabled.")
    return Fault(code="refused", detail=f"It answered {status}.")


def _text(body: bytes) -> str | None:
    """For people, and for a column that takes no NUL."""
    text = body.decode(errors="replace")
    return "".join(one if one.isprintable() or one in "\n\t" else "�" for one in text)[:_KEPT] or None


def _retry_after(reply: Reply) -> float | None:
    """In seconds. What is neither a number nor a date is none."""
    asked = reply.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", asked):
        return min(float(asked), _LONGEST_ASKED)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return None
    if until.tzinfo is None:
        return None
    return max(0.0, min((until - datetime.now(UTC)).total_seconds(), _LONGEST_ASKED))


def status_after(attempt: Attempt, *, overdue: bool) -> DeliveryStatus:
    """`overdue`: it was the last try."""
    if attempt.delivered:
        return DeliveryStatus.DELIVERED
    return DeliveryStatus.DEAD if attempt.gone or overdue else DeliveryStatus.PENDING


def pause_after(attempts: int, retry_after: float | None) -> float:
    """Seconds until the next try: each three times the one before, with a fifth of jitter, so that what failed together
    does not come together again; and never sooner than the receiver asks.
    """
    own = min(_FIRST_PAUSE * 3.0 ** (attempts - 1), _LONGEST_PAUSE) * _random.uniform(0.8, 1.2)
    return max(own, retry_after or 0.0)
