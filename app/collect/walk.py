"""One look at every tenant, some at a time."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Final

from app.collect import round_queries, walk_queries
from app.collect.model import Collector, Note
from app.collect.round_queries import Round
from app.collect.walk_queries import Layout
from app.db.pool import Connection, Database
from app.errors import AppError, DatabaseError, Transient
from app.log import logger

_log = logger(__name__)
# A transaction is to take between these, in seconds: so long is a tenant's table in nobody's way.
_SHORT: Final = 0.1
_LONG: Final = 0.3
_FIRST: Final = 10
_MOST: Final = 400
# After so many tenants the connection is made anew: PostgreSQL keeps what it learned of every table as long as that
# lasts, which is some 200 kB a tenant.
_RENEW: Final = 300
_NAMED: Final = 5


class Walk:
    """Goes on where an unfinished round got to. A tenant that is locked, or gone, is passed over."""

    def __init__(
        self,
        database: Database,
        transaction: Callable[[], AbstractAsyncContextManager[Connection]],
        *,
        pause: float,
    ) -> None:
        self._database = database
        self._transaction = transaction
        self._pause = pause
        self._size = _FIRST
        self._passed: dict[str, str] = {}

    async def run(self, begun: Round) -> list[Note]:
        """What was passed over, and why."""
        after, done, since_renewed = begun.reached, begun.tenants, 0
        async with self._transaction() as conn:
            layout = await walk_queries.layout(conn)
        while True:
            tenant_ids = await self._slice(after, done, layout)
            if not tenant_ids:
                break
            after, done, since_renewed = tenant_ids[-1], done + len(tenant_ids), since_renewed + len(tenant_ids)
            if since_renewed >= _RENEW:
                await self._database.renew()
                since_renewed = 0
            await asyncio.sleep(self._pause)
        async with self._transaction() as conn:
            await walk_queries.forget_orphans(conn)
        return self._notes()

    async def _slice(self, after: str, done: int, layout: Layout) -> Sequence[str]:
        """The tenants of the next slice, kept; in twice as many steps where it took too long."""
        begun = monotonic()
        async with self._database.connection() as conn:
            tenant_ids = await walk_queries.slice_after(conn, after, limit=self._size)
        if not tenant_ids:
            return tenant_ids
        try:
            await self._look(tenant_ids, done, layout)
        except DatabaseError as error:
            if isinstance(error, Transient) and error.connection_lost:
                raise
            if len(tenant_ids) == 1:
                await self._pass_over(tenant_ids[0], done, error)
                return tenant_ids
            self._size = 1 if isinstance(error, Transient) else max(len(tenant_ids) // 2, 1)
            return await self._slice(after, done, layout)
        took = monotonic() - begun
        if took < _SHORT:
            self._size = min(self._size * 2, _MOST)
        elif took > _LONG:
            self._size = max(self._size // 2, 1)
        return tenant_ids

    async def _look(self, tenant_ids: Sequence[str], done: int, layout: Layout) -> None:
        async with self._transaction() as conn:
            await walk_queries.prepare(conn)
            await walk_queries.look(conn, tenant_ids, layout)
            await round_queries.advance(conn, Collector.TENANTS, reached=tenant_ids[-1], tenants=done + len(tenant_ids))

    async def _pass_over(self, tenant_id: str, done: int, error: AppError) -> None:
        self._passed[tenant_id] = error.detail
        self._size = _FIRST
        _log.info("tenant_passed_over", tenant_id=tenant_id, reason=error.detail)
        async with self._transaction() as conn:
            await round_queries.advance(conn, Collector.TENANTS, reached=tenant_id, tenants=done + 1)

    def _notes(self) -> list[Note]:
        if not self._passed:
            return []
        told = "; ".join(f"{name}: {why}" for name, why in list(self._passed.items())[:_NAMED])
        return [Note(reason=f"{len(self._passed)} tenants were passed over until the next round ({told}).")]
