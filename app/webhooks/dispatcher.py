"""Delivers what is due, in every worker: at least once, nearly in order, and no receiver in another's way."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from app.audit import service as audit
from app.audit.model import Origin
from app.db.listener import Listener
from app.db.pool import Connection, Database
from app.errors import AppError
from app.integrations.model import Fault
from app.keyring import CannotDecrypt, Keyring
from app.log import logger
from app.webhooks import claim_queries, queries, sending, service
from app.webhooks.model import GIVE_UP_AFTER, MOST_ATTEMPTS, Attempt, Claimed, DisabledReason
from app.webhooks.sending import Sender
from app.webhooks.service import NoSigningSecret

_log = logger(__name__)

CHANNEL: Final = "bf_webhook"
# Deliveries of one process at a time; they wait, mostly.
_AT_ONCE: Final = 64
# Of one webhook, over all processes; of one that fails, a single one.
OF_EACH: Final = 4
# Longer than a try may take: who has not said by then how it went is dead, and it is anybody's again.
LEASE: Final = 30.0
# A notification can be lost with its connection: look at least this often, in seconds.
_LOOK_AGAIN: Final = 15.0
_TIDY: Final = 600.0
_SLICE: Final = 1000
_ORIGIN: Final = Origin(actor="service:webhooks")

Pause = Callable[[int, float | None], float]


class Dispatcher:
    """`retention` is how long events are kept, told or not."""

    def __init__(
        self,
        database: Database,
        direct_dsn: str,
        sender: Sender,
        keyring: Keyring,
        *,
        retention: timedelta,
        lease: float = LEASE,
        pause: Pause = sending.pause_after,
    ) -> None:
        self._database = database
        self._sender = sender
        self._keyring = keyring
        self._retention = retention
        self._lease = lease
        self._pause = pause
        self._wake = asyncio.Event()
        self._listener = Listener(
            direct_dsn, channel=CHANNEL, deliver=lambda _: self._wake.set(), resumed=self._wake.set
        )
        self._tasks: set[asyncio.Task[None]] = set()
        # Of the worker's connections one at most is taken for this, however much there is to tell.
        self._turn = asyncio.Semaphore(1)

    async def run(self, stopping: asyncio.Event) -> None:
        """Until `stopping` is set and what was under way has ended. Cancelled, others take over after the lease."""
        self._listener.start()
        beside = [asyncio.create_task(self._tidy(), name="tidy-events")]
        beside.append(asyncio.create_task(self._woken_by(stopping)))
        try:
            while not stopping.is_set():
                self._wake.clear()
                await self._wait(await self._begin())
            await asyncio.gather(*self._tasks)
        finally:
            for task in (*beside, *self._tasks):
                task.cancel()
            await asyncio.gather(*beside, *self._tasks, return_exceptions=True)
            await self._listener.stop()

    async def _woken_by(self, stopping: asyncio.Event) -> None:
        await stopping.wait()
        self._wake.set()

    async def _begin(self) -> float:
        """Starts what is due; returns in how many seconds to look again if nothing happens before."""
        try:
            async with self._turn, self._database.connection() as conn:
                claimed = await claim_queries.claim(
                    conn,
                    limit=_AT_ONCE - len(self._tasks),
                    of_each=OF_EACH,
                    lease=self._lease,
                    give_up_after=GIVE_UP_AFTER,
                    most_attempts=MOST_ATTEMPTS,
                )
                due = await claim_queries.next_due(conn)
        except AppError as error:
            _log.warning("webhooks_wait", reason=error.detail)
            return 1.0
        for one in claimed:
            task = asyncio.create_task(self._deliver(one), name=f"deliver-{one.id}")
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        return _LOOK_AGAIN if due is None else max(0.02, min(due, _LOOK_AGAIN))

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("delivery_failed", exc_info=error)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _deliver(self, claimed: Claimed) -> None:
        try:
            attempt = await self._attempt(claimed)
            async with self._turn, self._database.transaction() as conn:
                await self._record(conn, claimed, attempt)
        except AppError as error:
            # It was sent, perhaps, and nobody knows: after the lease it is sent again, under the same id.
            _log.warning("delivery_not_recorded", delivery=str(claimed.id), reason=error.detail)

    async def _attempt(self, claimed: Claimed) -> Attempt:
        try:
            async with self._turn, self._database.connection() as conn:
                keys = await service.signing_keys(conn, self._keyring, claimed.webhook)
        except (CannotDecrypt, NoSigningSecret) as error:
            return Attempt(latency_ms=0.0, fault=Fault(code=error.code, detail=error.detail))
        return await self._sender.send(claimed.webhook.url, claimed.event, keys)

    async def _record(self, conn: Connection, claimed: Claimed, attempt: Attempt) -> None:
        webhook = claimed.webhook
        status = sending.status_after(attempt, overdue=claimed.overdue)
        again = self._pause(claimed.attempts, attempt.retry_after)
        if not await claim_queries.record(conn, claimed, attempt, status, again=again):
            return  # it is another's by now, or was replayed
        if attempt.delivered == (webhook.failing_since is not None):
            await claim_queries.note(conn, webhook.id, taking=attempt.delivered)
        if attempt.gone and await queries.disable(conn, webhook.id, DisabledReason.GONE):
            target = f"webhook/{webhook.id}"
            after = {"disabled_reason": DisabledReason.GONE}
            await audit.record(conn, _ORIGIN, action="webhook.disable", target=target, outcome="succeeded", after=after)

    async def _tidy(self) -> None:
        """A little at a time, so that it is in nobody's way."""
        while True:
            more = False
            try:
                more = await self._forget()
            except AppError as error:
                _log.warning("events_not_tidied", reason=error.detail)
            await asyncio.sleep(0.1 if more else _TIDY)

    async def _forget(self) -> bool:
        async with self._turn, self._database.connection() as conn:
            orphans = await claim_queries.forget_orphans(conn, limit=_SLICE)
            return await claim_queries.forget_events(conn, self._retention, limit=_SLICE) or orphans
