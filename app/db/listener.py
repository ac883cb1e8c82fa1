"""LISTEN on a connection of its own, for as long as the process lives."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

import asyncpg

from app.db.connect import connect_arguments
from app.db.translate import translate, unreachable
from app.log import logger

_log = logger(__name__)
_MAX_PAUSE = 10.0


class Listener:
    """Hands each payload of `channel` to `deliver`; reconnects by itself, calling `resumed` after a gap.

    What was notified during a gap is lost: `resumed` is where a listener looks for itself.
    """

    def __init__(self, dsn: str, *, channel: str, deliver: Callable[[str], None], resumed: Callable[[], None]) -> None:
        self._dsn = dsn
        self._channel = channel
        self._deliver = deliver
        self._resumed = resumed
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"listen-{self._channel}")

    async def stop(self) -> None:
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        pause = 0.2
        while True:
            try:
                await self._listen()
                pause = 0.2
            except Exception as error:
                if not unreachable(error) and translate(error) is None:
                    raise
                _log.warning("listener_lost", channel=self._channel, reason=str(error))
                pause = min(pause * 2, _MAX_PAUSE)
            await asyncio.sleep(pause)

    async def _listen(self) -> None:
        """Until the connection ends."""
        arguments = connect_arguments(self._dsn, application_name="bf-admin listener")
        conn = await asyncpg.connect(**{"timeout": 5, **arguments})
        ended = asyncio.Event()
        try:
            conn.add_termination_listener(lambda _: ended.set())
            await conn.add_listener(self._channel, lambda *event: self._deliver(str(event[3])))
            self.connected.set()
            self._resumed()
            await ended.wait()
        finally:
            self.connected.clear()
            conn.terminate()
