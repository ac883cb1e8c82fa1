"""What a worker does for /health, beside its jobs: it says that it lives, and looks who uses more than they may."""

import asyncio
import os
import socket
from contextlib import suppress
from typing import Final
from uuid import uuid4

from app.db.pool import Database
from app.errors import AppError
from app.health import excess, queries
from app.log import logger

_log = logger(__name__)
# Seconds between two signs of life; after Thresholds.worker_lost without one a worker is given up.
BEAT: Final = 5.0
# How often, in seconds, it is asked whether the look at limits is due.
_LIMITS: Final = 60.0


class Keeper:
    """Of one worker, which is another one each time it starts."""

    def __init__(self, database: Database, *, release: str) -> None:
        self._database = database
        self._id = uuid4()
        self._release = release

    async def run(self) -> None:
        """Until cancelled; then leave() is to be called."""
        await asyncio.gather(self._live(), self._limits())

    async def leave(self) -> None:
        """In order: nobody is to miss it. Where the database is away it is missed all the same."""
        with suppress(AppError):
            async with self._database.connection() as conn:
                await queries.leave(conn, worker=self._id)

    async def _live(self) -> None:
        while True:
            try:
                async with self._database.connection() as conn:
                    await queries.beat(
                        conn, worker=self._id, host=socket.gethostname(), process_id=os.getpid(), release=self._release
                    )
            except AppError as error:
                _log.warning("heartbeat_failed", reason=error.detail)
            await asyncio.sleep(BEAT)

    async def _limits(self) -> None:
        while True:
            try:
                await excess.look_if_due(self._database)
            except AppError as error:
                _log.warning("limits_not_looked_at", reason=error.detail)
            await asyncio.sleep(_LIMITS)
