"""The flags of tenants as this process last read them, for as long as nobody says that they changed."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from app.db.listener import Listener
from app.db.pool import Connection, Database
from app.features import queries
from app.features.evaluation import Flags, flags_of
from app.http.conditional import tag_of
from app.registry import queries as registry
from app.registry.model import CHANGEABLE, tenant_id

CHANNEL: Final = "bf_feature"
# Tenants; those that were not asked for longest go first. One takes some 5 kB.
_MOST: Final = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`tag` is of all flags; `until` is a moment of the loop's clock."""

    flags: Flags
    tag: str
    until: float


class FlagCache:
    """PostgreSQL notifies of every change. While nobody listens, nothing is kept; and in any case no longer than
    `max_age` seconds, since a connection may be dead before anybody notices.
    """

    def __init__(self, database: Database, direct_dsn: str, *, max_age: float) -> None:
        self._database = database
        self._max_age = max_age
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._changes = 0
        self._started = False
        self._listener = Listener(direct_dsn, channel=CHANNEL, deliver=self._forget, resumed=self._forget_all)

    async def stop(self) -> None:
        await self._listener.stop()

    async def get(self, wanted: str) -> Kept | None:
        """None where there is no tenant `wanted` that has features: it must be active or suspended."""
        now = asyncio.get_running_loop().time()
        kept = self._kept.get(wanted)
        if kept is not None and now < kept.until and self._listener.connected.is_set():
            return kept
        self._listen()
        changes = self._changes
        async with self._database.connection() as conn:
            flags = await _read(conn, wanted)
        if flags is None:
            return None
        read = Kept(flags=flags, tag=tag_of(flags.all), until=now + self._max_age)
        # What was notified meanwhile may be about what was just read, and will not be said again.
        if self._changes == changes and self._listener.connected.is_set():
            self._keep(wanted, read)
        return read

    def _listen(self) -> None:
        """From the first question on: a process that nobody asks has no connection for it."""
        if not self._started:
            self._started = True
            self._listener.start()

    def _keep(self, wanted: str, read: Kept) -> None:
        self._kept[wanted] = read
        self._kept.move_to_end(wanted)
        while len(self._kept) > _MOST:
            self._kept.popitem(last=False)

    def _forget(self, changed: str) -> None:
        """The payload is a tenant's id, or nothing where it may be any."""
        self._changes += 1
        if changed:
            self._kept.pop(changed, None)
        else:
            self._kept.clear()

    def _forget_all(self) -> None:
        self._forget("")


async def _read(conn: Connection, wanted: str) -> Flags | None:
    try:
        tenant = await registry.get(conn, tenant_id(wanted))
    except ValueError:
        return None
    if tenant is None or tenant.state not in CHANGEABLE:
        return None
    return flags_of(await queries.of_tenant(conn, tenant.tenant_id))
