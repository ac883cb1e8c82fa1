"""When keys were last used: collected here, and written together, so that no request waits for a write."""

import asyncio
from collections.abc import Mapping
from typing import Final

from app.apikeys import queries
from app.db.pool import Database
from app.errors import AppError
from app.log import logger

_log = logger(__name__)
# Seconds between two writes, where anything was used at all.
_EVERY: Final = 30.0
# Seconds that the end of the process waits for the last one.
_AT_THE_END: Final = 2.0


class KeyUse:
    """Who was here since the last write, by the loop's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[str, float] = {}

    def note(self, key_id: str, now: float) -> None:
        self._used[key_id] = now

    async def run(self) -> None:
        """Until it is cancelled; then once more."""
        try:
            while True:
                await asyncio.sleep(_EVERY)
                await self.flush()
        finally:
            try:
                async with asyncio.timeout(_AT_THE_END):
                    await self.flush()
            except TimeoutError:
                _log.warning("last_use_not_written", keys=len(self._used))

    async def flush(self) -> None:
        """One UPDATE, or none where nothing was used. What could not be written is written the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        now = asyncio.get_running_loop().time()
        try:
            async with self._database.transaction() as conn:
                await queries.record_use(conn, {key_id: now - at for key_id, at in used.items()})
        except AppError as error:
            self._take_back(used)
            _log.warning("last_use_not_written", reason=error.detail)

    def _take_back(self, used: Mapping[str, float]) -> None:
        self._used = {**used, **self._used}
