"""Who did what: one row in the transaction of the change itself."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final

from app.audit import queries
from app.audit.model import Origin, Record
from app.audit.queries import Filter, Outcome
from app.db.pages import cut
from app.db.pool import Connection, Database

_CHUNK: Final = 500


async def record(
    conn: Connection,
    origin: Origin,
    *,
    action: str,
    target: str,
    outcome: Outcome,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """`action` is `noun.verb` (tenant.create); `target` names the thing (tenant/acme_corp)."""
    await queries.insert(
        conn,
        actor=origin.actor,
        role=origin.role,
        source_address=origin.source_address,
        request_id=origin.request_id,
        action=action,
        target=target,
        outcome=outcome,
        before=before,
        after=after,
    )


async def record_all(
    conn: Connection, origin: Origin, *, action: str, outcome: Outcome, after: Mapping[str, dict[str, Any]]
) -> None:
    """The same of many, by target."""
    await queries.insert_all(
        conn,
        actor=origin.actor,
        role=origin.role,
        source_address=origin.source_address,
        request_id=origin.request_id,
        action=action,
        outcome=outcome,
        after=after,
    )


async def page(
    conn: Connection, wanted: Filter, *, after: tuple[datetime, int] | None, size: int
) -> tuple[list[Record], tuple[datetime, int] | None]:
    """Newest first, and where the next page begins."""
    found = await queries.page(conn, wanted, after=after, limit=size + 1)
    return cut(found, size, lambda last: (last.occurred_at, last.id))


async def export(database: Database, wanted: Filter) -> AsyncIterator[list[Record]]:
    """All of them, newest first, in pieces.

    Each piece is a query of its own, and no cursor: who reads slowly holds no connection, and no snapshot that keeps
    VACUUM from its work. Nothing is missed by that, for rows are only added, and at the other end.
    """
    after: tuple[datetime, int] | None = None
    while True:
        async with database.connection() as conn:
            found, after = await page(conn, wanted, after=after, size=_CHUNK)
        if found:
            yield found
        if after is None:
            return
