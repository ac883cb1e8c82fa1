"""The collectors: what each does in a round, led by one process at a time."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Final
from uuid import UUID, uuid4

from app.collect import fleet_queries, history_queries, round_queries, statements
from app.collect.fleet_queries import Disk
from app.collect.history_queries import Retention
from app.collect.model import Collector, Note
from app.collect.walk import Walk
from app.db.pool import Connection, Database
from app.errors import AppError
from app.log import logger

_log = logger(__name__)
# How often, in seconds, a process that has nothing to do asks whether it has by now.
_PATIENCE: Final = 15.0
# While another process collects.
_NEXT: Final = 1.0
# After a failure of the database.
_RETRY: Final = 5.0
# The share of a core that looking at the size of the whole database may take.
_SHARE: Final = 0.005
_PAUSE: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How often each collector begins; one that is missing is off. `disk` is a directory on the database's volume."""

    every: Mapping[Collector, timedelta]
    retention: Retention
    disk: Path | None = None


class LeaseLost(Exception):
    """Another process leads by now: this one has written nothing since."""


class Lead:
    """What a process writes while it leads, and only while it does."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.token: Final[UUID] = uuid4()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Raises LeaseLost at its beginning, or commits while nobody else can lead."""
        async with self._database.transaction() as conn:
            if not await round_queries.keep(conn, self.token):
                raise LeaseLost
            yield conn


class Collecting:
    """Collects, in whichever worker comes first. `database` is its own: what its connections learn is thrown away."""

    def __init__(self, database: Database, plan: Plan, *, pause: float = _PAUSE) -> None:
        self._database = database
        self._plan = plan
        self._pause = pause
        self._holder = f"{socket.gethostname()}/{os.getpid()}"
        self._size = 0
        self._size_due = 0.0
        self._work: Final[Mapping[Collector, Callable[[Lead, round_queries.Round], Awaitable[list[Note]]]]] = {
            Collector.FLEET: self._fleet,
            Collector.TENANTS: self._tenants,
            Collector.STATEMENTS: self._statements,
            Collector.HISTORY: self._history,
        }

    async def run(self) -> None:
        """Until cancelled."""
        while self._plan.every:
            try:
                await asyncio.sleep(min(await self.collect(), _PATIENCE))
            except LeaseLost:
                _log.warning("collection_lease_lost")
                await asyncio.sleep(_RETRY)
            except AppError as error:
                _log.warning("collection_failed", reason=error.detail)
                await asyncio.sleep(_RETRY)

    async def collect(self) -> float:
        """What is due, if nobody else does it. In how many seconds something is. Raises LeaseLost."""
        lead = Lead(self._database)
        async with self._database.transaction() as conn:
            claimed, due_in = await round_queries.claim(conn, self._plan.every, token=lead.token, holder=self._holder)
        if not claimed:
            return max(due_in, _NEXT)  # it is not time yet, or somebody else is at it
        try:
            for collector, every in self._plan.every.items():
                await self._round(lead, collector, every)
        finally:
            with suppress(AppError):
                await asyncio.shield(self._release(lead))
        return 0.0

    async def _release(self, lead: Lead) -> None:
        async with self._database.transaction() as conn:
            await round_queries.release(conn, lead.token)
        await self._database.renew()

    async def _round(self, lead: Lead, collector: Collector, every: timedelta) -> None:
        """What fails is kept with the collector, and is no reason for the others not to begin."""
        async with lead.transaction() as conn:
            begun = await round_queries.begin(conn, collector, every)
        if begun is None:
            return
        try:
            notes = await self._work[collector](lead, begun)
        except AppError as error:
            _log.warning("collection_failed", collector=collector, reason=error.detail)
            async with lead.transaction() as conn:
                await round_queries.fail(conn, collector, error.detail)
        else:
            async with lead.transaction() as conn:
                await round_queries.succeed(conn, collector, notes)

    async def _fleet(self, lead: Lead, _: round_queries.Round) -> list[Note]:
        disk = None if self._plan.disk is None else await asyncio.to_thread(_disk, self._plan.disk)
        await self._measure_database()
        async with lead.transaction() as conn:
            await fleet_queries.look(conn, database_bytes=self._size, disk=disk)
            hidden = await fleet_queries.rights(conn)
        return [] if hidden is None else [hidden]

    async def _measure_database(self) -> None:
        """Where that takes long, not in every round."""
        begun = monotonic()
        if begun >= self._size_due:
            async with self._database.connection() as conn:
                self._size = await fleet_queries.database_bytes(conn)
            ended = monotonic()
            self._size_due = ended + (ended - begun) / _SHARE

    async def _tenants(self, lead: Lead, begun: round_queries.Round) -> list[Note]:
        return await Walk(self._database, lead.transaction, pause=self._pause).run(begun)

    async def _statements(self, lead: Lead, _: round_queries.Round) -> list[Note]:
        async with lead.transaction() as conn:
            return await statements.look(conn)

    async def _history(self, lead: Lead, _: round_queries.Round) -> list[Note]:
        more = True
        while more:
            async with lead.transaction() as conn:
                more = await history_queries.thin(conn, self._plan.retention)
            await asyncio.sleep(self._pause)
        return []


def _disk(directory: Path) -> Disk | None:
    try:
        found = os.statvfs(directory)
    except OSError as error:
        _log.warning("disk_unknown", directory=str(directory), reason=error.strerror)
        return None
    return Disk(bytes=found.f_frsize * found.f_blocks, free_bytes=found.f_frsize * found.f_bavail)
