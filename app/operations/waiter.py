"""Waiting for operations to end, without asking the database again and again."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from uuid import UUID

from app.db.listener import Listener
from app.db.pool import Database
from app.operations import queries
from app.operations.model import Operation

CHANNEL: Final = "bf_operation"
# A notification can be lost with the listener's connection: look at least this often, in seconds.
_LOOK_AGAIN: Final = 1.0


class Waiter:
    """One listener serves every request of the process that waits."""

    def __init__(self, database: Database, direct_dsn: str) -> None:
        self._database = database
        self._released = False
        self._events: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listener = Listener(direct_dsn, channel=CHANNEL, deliver=self._wake, resumed=self._wake_all)

    def start(self) -> None:
        self._listener.start()

    async def stop(self) -> None:
        self.release()
        await self._listener.stop()

    def release(self) -> None:
        """From now on nobody waits: those who do answer with what there is. Safe in a signal handler."""
        self._released = True
        self._wake_all()

    @contextmanager
    def registered(self, operation_id: UUID) -> Iterator[asyncio.Event]:
        """Enter before the operation commits: what ends right after is then not missed."""
        event = asyncio.Event()
        self._events[str(operation_id)].add(event)
        try:
            yield event
        finally:
            waiting = self._events[str(operation_id)]
            waiting.discard(event)
            if not waiting:
                del self._events[str(operation_id)]

    async def wait(self, operation_id: UUID, event: asyncio.Event, *, seconds: float) -> Operation | None:
        """The operation, finished or as it stands after `seconds`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            await self.pause(event, at_most=deadline - loop.time())
            async with self._database.connection() as conn:
                operation = await queries.get(conn, operation_id)
            ended = operation is None or operation.status.terminal
            if ended or self._released or loop.time() >= deadline:
                return operation

    @property
    def released(self) -> bool:
        return self._released

    async def pause(self, event: asyncio.Event, *, at_most: float = _LOOK_AGAIN) -> None:
        """Until something was notified, or it is time to look in any case."""
        try:
            async with asyncio.timeout(max(0.0, min(at_most, _LOOK_AGAIN))):
                await event.wait()
        except TimeoutError:
            pass  # looking is what follows in either case
        event.clear()

    def _wake(self, operation_id: str) -> None:
        for event in self._events.get(operation_id, ()):
            event.set()

    def _wake_all(self) -> None:
        for operation_id in list(self._events):
            self._wake(operation_id)
