"""What wakes a worker, and what it then asks: only what it can act upon.

By itself pgqueuer looks into its table whenever anybody changes it, up to four times before it waits again, and
ten times a second while there is work that it has no room for. Everywhere else those are cheap, cached
statements. Here every CREATE SCHEMA makes each session of the server plan all of its statements anew.
"""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from asyncpg import Pool, Record
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.models import Job, TableChangedEvent, TracebackRecord
from pgqueuer.ports.driver import NotifyCallback
from pgqueuer.ports.repository import EntrypointExecutionParameter
from pgqueuer.queries import Queries
from pgqueuer.types import JOB_STATUS, Channel, JobId, QueueEntrypoint, QueueManagerId

from app.jobs.queue import ENVIRONMENT, QUEUE, SCHEDULER, SETTINGS

_Outcome: TypeAlias = tuple[Job, JOB_STATUS, TracebackRecord | None]

_LOOK: Final = TableChangedEvent(
    channel=Channel(SETTINGS.channel),
    sent_at=datetime.fromtimestamp(0, UTC),
    type="table_changed_event",
    operation="insert",
    table=SETTINGS.queue_table,
).model_dump_json()


@dataclass(slots=True)
class Room:
    """How many jobs the worker may hold, and which ones it does."""

    limit: int
    held: set[JobId] = field(default_factory=set)

    @property
    def full(self) -> bool:
        return len(self.held) >= self.limit


class Attention(AsyncpgPoolDriver):
    """Passes on only notifications of jobs that came while there is room for them; `look` is one of our own."""

    def __init__(self, pool: "Pool[Record]", room: Room) -> None:
        super().__init__(pool)
        self._room = room
        self._callback: NotifyCallback | None = None

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        self._callback = callback
        await super().add_listener(channel, self._heard)

    def look(self) -> None:
        if self._callback is not None:
            self._callback(_LOOK)

    def _heard(self, payload: str | bytes | bytearray) -> None:
        event = json.loads(payload)
        changed = event["type"] == "table_changed_event"
        if self._callback is not None and (not changed or (event["operation"] == "insert" and not self._room.full)):
            self._callback(payload)


class FrugalQueries(Queries):
    """The queue as one worker sees it. It looks again by itself when it has room again, and when a retry is due."""

    def __init__(self, driver: Attention, room: Room) -> None:
        super().__init__(driver, qbe=ENVIRONMENT, qbq=QUEUE, qbs=SCHEDULER)
        self._attention = driver
        self._room = room

    async def dequeue(
        self,
        batch_size: int,
        entrypoints: dict[QueueEntrypoint, EntrypointExecutionParameter],
        queue_manager_id: QueueManagerId,
        global_concurrency_limit: int | None,
        heartbeat_timeout: timedelta,
    ) -> list[Job]:
        if self._room.full:
            return []
        jobs = await super().dequeue(
            batch_size, entrypoints, queue_manager_id, global_concurrency_limit, heartbeat_timeout
        )
        self._room.held.update(job.id for job in jobs)
        return jobs

    async def log_jobs(self, job_status: list[_Outcome]) -> None:
        await super().log_jobs(job_status)
        self._release(job.id for job, _, _ in job_status)

    async def retry_job(self, job: Job, delay: timedelta, traceback_record: TracebackRecord | None) -> None:
        await super().retry_job(job, delay, traceback_record)
        self._release([job.id])
        asyncio.get_running_loop().call_later(delay.total_seconds(), self._attention.look)

    def _release(self, jobs: Iterable[JobId]) -> None:
        was_full = self._room.full
        self._room.held.difference_update(jobs)
        if was_full:
            self._attention.look()

    # What follows pgqueuer asks before it waits, for how long. What comes notifies, a retry of our own wakes
    # us, and another worker's is found by the next poll.

    async def eligible_queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        return 0

    async def next_deferred_eta(self, entrypoints: list[QueueEntrypoint]) -> timedelta | None:
        return None

    async def queued_work(self, entrypoints: list[QueueEntrypoint]) -> int:
        return 0
