"""Refused requests into the audit trail: soon, in batches, and never more of them than it should hold.

The first of a caller on a route is a row of its own; what follows within the minute is one more row, with their number.
A flood of callers is a number too: nothing is lost without a count of it.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from app.audit import queries
from app.db.pool import Database
from app.errors import AppError
from app.http.denials import Denial
from app.log import logger

_log = logger(__name__)
# Seconds until what is new is written, and until those that follow are.
_SOON: Final = 1.0
_WINDOW: Final = 60.0
# Callers times routes of one window, per process; all beyond share one row.
MOST: Final = 100
_BEYOND: Final = Denial(
    actor="service:audit", role=None, source_address=None, request_id="", method="", route="", tenant_id=None, status=0,
    code="too_many_denials",
)  # fmt: skip


@dataclass(slots=True)
class _Entry:
    """Of one key and window: `count` are those that no row tells of yet."""

    denial: Denial
    opened: float
    count: int = 0
    written: bool = False
    first_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    last_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Denials:
    """The sink of one API process. Without a refused request it asks the database for nothing."""

    def __init__(self, database: Database, *, window: float = _WINDOW, soon: float = _SOON) -> None:
        self._database = database
        self._window = window
        self._soon = soon
        self._entries: dict[tuple[Any, ...], _Entry] = {}
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def note(self, denial: Denial) -> None:
        key: tuple[Any, ...] = (
            denial.actor,
            denial.source_address,
            denial.method,
            denial.route,
            denial.status,
            denial.code,
        )
        if key not in self._entries and len(self._entries) >= MOST:
            key, denial = ("",), _BEYOND
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(denial, asyncio.get_running_loop().time())
        elif entry.count == 0:
            entry.denial = denial if key != ("",) else _BEYOND
            entry.first_at = datetime.now(UTC)
        entry.count += 1
        entry.last_at = datetime.now(UTC)
        self._wake.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="denials")

    async def stop(self) -> None:
        """Writes what is left."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._write(list(self._entries.values()))

    async def _run(self) -> None:
        while True:
            if not self._entries:
                self._wake.clear()
                await self._wake.wait()
            await asyncio.sleep(self._soon)
            await self.flush()

    async def flush(self) -> None:
        """What is new now, and what has been counted once its window is over."""
        now = asyncio.get_running_loop().time()
        over = [key for key, entry in self._entries.items() if now - entry.opened >= self._window]
        due = [entry for entry in self._entries.values() if not entry.written]
        due += [self._entries[key] for key in over if self._entries[key].written]
        if await self._write(due):
            for key in over:
                if self._entries[key].count == 0:  # one that came while they were written opens the next window
                    del self._entries[key]
                else:
                    self._entries[key].opened, self._entries[key].written = now, False

    async def _write(self, entries: Iterable[_Entry]) -> bool:
        """False where the database is away: it is tried again, and goes on being counted."""
        taken = [(entry, _row(entry)) for entry in entries if entry.count]
        if not taken:
            return True
        try:
            async with self._database.transaction() as conn:
                for _, (denial, after) in taken:
                    await queries.insert(
                        conn,
                        actor=denial.actor,
                        role=denial.role,
                        source_address=denial.source_address,
                        request_id=denial.request_id or None,
                        action="request.deny",
                        target=f"route/{denial.method} {denial.route}" if denial.route else "route",
                        outcome="denied",
                        before=None,
                        after=after,
                    )
        except AppError as error:
            _log.warning("denials_not_recorded", reason=error.detail, waiting=sum(e.count for e, _ in taken))
            return False
        for entry, (_, after) in taken:
            entry.count -= after["count"]
            entry.written = True
        return True


def _row(entry: _Entry) -> tuple[Denial, dict[str, Any]]:
    """What a row says of it."""
    said = {
        "status": entry.denial.status or None,
        "code": entry.denial.code,
        "tenant_id": entry.denial.tenant_id,
        "count": entry.count,
        "first_at": entry.first_at.isoformat(),
        "last_at": entry.last_at.isoformat(),
    }
    return entry.denial, {name: value for name, value in said.items() if value is not None}
