"""Delivers queued jobs until told to stop. At least once: handlers guard themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeAlias
from uuid import UUID

from pgqueuer.errors import RetryRequested
from pgqueuer.models import Job
from pgqueuer.qm import QueueManager
from pgqueuer.types import Channel

from app.db.pool import Database
from app.db.pools import QUEUE_CONNECTIONS
from app.db.retry import backoff
from app.jobs.frugal import Attention, FrugalQueries, Room
from app.jobs.queue import ENTRYPOINT, SETTINGS
from app.log import logger

_log = logger(__name__)

# A job whose worker has not been heard of for this long is handed to another.
HEARTBEAT_TIMEOUT: Final = timedelta(seconds=10)
# A retry sends no NOTIFY: it starts at the latest this long after its time.
_POLL: Final = timedelta(seconds=2)
# One at a time: what is taken runs at once, and what cannot run yet is left to another worker.
_BATCH: Final = 1

Deliver: TypeAlias = Callable[[UUID], Awaitable[None]]


class RetryJob(RetryRequested):
    """Raised by what is delivered to: the job comes again after `delay`."""


class Runner:
    """Hands each job's operation id to `deliver`, `concurrency` at a time, and survives its database."""

    def __init__(
        self,
        database: Database,
        deliver: Deliver,
        *,
        concurrency: int,
        heartbeat_timeout: timedelta = HEARTBEAT_TIMEOUT,
    ) -> None:
        self._database = database
        self._deliver = deliver
        self._concurrency = concurrency
        self._heartbeat_timeout = heartbeat_timeout
        self.stopping = asyncio.Event()
        self._manager: QueueManager | None = None

    def stop(self) -> None:
        """No new job is taken; run() returns when the ones in work are done."""
        self.stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()

    async def run(self, *, drain_timeout: float) -> None:
        """Until stop(), and then for `drain_timeout` seconds at most: what is left is cancelled.

        A cancelled job's operation stays unfinished, and is queued again by whoever sweeps next.
        """
        running = asyncio.create_task(self._run_for_ever(), name="jobs")
        stopping = asyncio.create_task(self.stopping.wait())
        try:
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({running}, timeout=drain_timeout)
        finally:
            stopping.cancel()
            if not running.done():
                _log.warning("drain_timeout", seconds=drain_timeout)
                running.cancel()
            await asyncio.gather(running, stopping, return_exceptions=True)
        if not running.cancelled() and (error := running.exception()) is not None:
            raise error

    async def _run_for_ever(self) -> None:
        """A lost connection or listener ends a manager; another takes its place."""
        failures = 0
        while not self.stopping.is_set():
            begun = asyncio.get_running_loop().time()
            try:
                await self._run_once()
            except Exception as error:  # noqa: BLE001 -- whatever ended it is logged, and the queue must be served
                failures = 1 if asyncio.get_running_loop().time() - begun > 60 else failures + 1
                pause = 0.2 + backoff(failures)
                _log.warning("job_runner_restarts", reason=f"{type(error).__name__}: {error}", pause=pause)
                await _wait(self.stopping, pause)

    async def _run_once(self) -> None:
        async with self._database.side_pool(max_size=QUEUE_CONNECTIONS) as pool:
            room = Room(self._concurrency)
            manager = QueueManager(FrugalQueries(Attention(pool, room), room), Channel(SETTINGS.channel))
            manager.entrypoint(ENTRYPOINT, accepts_context=False)(self._job)
            self._manager = manager
            if self.stopping.is_set():
                return
            await manager.run(
                dequeue_timeout=_POLL,
                batch_size=_BATCH,
                max_concurrent_tasks=max(self._concurrency, 2 * _BATCH),
                shutdown_on_listener_failure=True,
                heartbeat_timeout=self._heartbeat_timeout,
            )

    async def _job(self, job: Job) -> None:
        if job.payload is None:
            return
        await self._deliver(UUID(job.payload.decode()))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, or after `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
