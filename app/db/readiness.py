"""Whether the process can serve yet, and what it waits for."""

import asyncio
from collections.abc import Awaitable, Callable

from app.db.retry import backoff
from app.errors import AppError, PrivilegeMissing, Transient, Unavailable
from app.log import logger

_log = logger(__name__)


class Starting(Unavailable):
    code = "starting"
    title = "The service is starting"


class Readiness:
    """Ready once prepare() has succeeded. What is waited for until then is in the log: strangers see this.

    `failure` is what no waiting helps: the process is about to end. So it is, in order, once it is `draining`.
    """

    def __init__(self) -> None:
        self._ready = asyncio.Event()
        self.draining = False
        self.failure: AppError | None = None

    @property
    def ready(self) -> bool:
        return self._ready.is_set()

    def require(self) -> None:
        """Raises Starting until ready."""
        if not self.ready:
            raise Starting("The service is not ready yet: its database is away, or its schema is not there.")

    async def wait(self) -> None:
        await self._ready.wait()

    async def wait_or(self, other: asyncio.Event) -> None:
        """Returns when ready, or when `other` happens."""
        waiting = [asyncio.create_task(event.wait()) for event in (self._ready, other)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()

    async def achieve(self, prepare: Callable[[], Awaitable[None]]) -> None:
        """Tries until the database is there and somebody with the right to has made the schema.

        Raises what no waiting helps: other settings, an edited migration.
        """
        attempt = 0
        while not self.ready:
            try:
                await prepare()
                self._ready.set()
                _log.info("ready")
            except (Unavailable, Transient, PrivilegeMissing) as error:
                attempt += 1
                pause = 0.2 + backoff(attempt, base=0.2, cap=3.0)
                _log.warning("not_ready", reason=error.detail, again_in=round(pause, 1))
                await asyncio.sleep(pause)
            except AppError as error:
                self.failure = error
                raise
            except Exception as error:
                _log.exception("cannot_start")
                self.failure = AppError(f"{type(error).__name__}: {error}")
                raise self.failure from error
