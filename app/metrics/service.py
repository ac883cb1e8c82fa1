"""What this process knows of the fleet: read when it is asked, and not more often than it may."""

import asyncio
import time
from typing import Final

from app.db.pool import Database
from app.errors import AppError
from app.log import logger
from app.metrics import queries
from app.metrics.model import Figures, Fleet, Work

_log = logger(__name__)
# Seconds. However many scrape, the database is asked no more often than this for what is under way, and for the fleet.
WORK_AGE: Final = 3.0
FLEET_AGE: Final = 15.0
# A scrape waits no longer for its database: without it, it still has a process to tell of.
_PATIENCE: Final = 4.0


class FleetFigures:
    """The figures of one database, for all who scrape this process; `largest` tenants by name."""

    def __init__(self, database: Database, *, largest: int) -> None:
        self._database = database
        self._largest = largest
        self._reading = asyncio.Lock()
        self._figures: Figures | None = None
        self._next = 0.0
        self._next_fleet = 0.0

    async def read(self) -> Figures | None:
        """At most WORK_AGE old, the fleet's FLEET_AGE. None where the database does not tell: nothing is made up."""
        async with self._reading:
            now = time.monotonic()
            if now >= self._next:
                self._figures = await self._look(now)
                self._next = now + WORK_AGE
            return self._figures

    def forget(self) -> None:
        """Whoever asks next is told what is so then."""
        self._next = self._next_fleet = 0.0

    async def _look(self, now: float) -> Figures | None:
        known = self._figures.fleet if self._figures is not None and now < self._next_fleet else None
        try:
            async with asyncio.timeout(_PATIENCE):
                work, fleet = await self._ask(known)
        except (AppError, TimeoutError) as error:
            _log.warning("metrics_without_database", reason=str(error) or "it did not answer in time")
            return None
        if known is None:
            self._next_fleet = now + FLEET_AGE
        return Figures(work=work, fleet=fleet)

    async def _ask(self, known: Fleet | None) -> tuple[Work, Fleet]:
        async with self._database.connection() as conn:
            work = await queries.work(conn)
            return work, known or await queries.fleet(conn, largest=self._largest)
