"""Which tenants use more than they may: looked at every few minutes, by one worker, in slices."""

import asyncio
from datetime import timedelta
from typing import Final

from app.db.pool import Database
from app.health import excess_queries as queries

EVERY: Final = timedelta(minutes=5)
# Tenants a transaction, which takes some milliseconds; and seconds between two.
_SLICE: Final = 500
_PAUSE: Final = 0.05


async def look(database: Database) -> int:
    """At every tenant, by its counters; how many limits are exceeded."""
    found, after = 0, ""
    while True:
        async with database.transaction() as conn:
            tenant_ids = await queries.slice_after(conn, after, limit=_SLICE)
            found += await queries.keep(conn, tenant_ids)
        if len(tenant_ids) < _SLICE:
            break
        after = tenant_ids[-1]
        await asyncio.sleep(_PAUSE)
    async with database.transaction() as conn:
        await queries.end(conn)
    return found


async def look_if_due(database: Database, every: timedelta = EVERY) -> int | None:
    """None where it is not due, or another worker does it."""
    async with database.transaction() as conn:
        if not await queries.claim(conn, every):
            return None
    return await look(database)
