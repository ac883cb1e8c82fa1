"""What was collected, page by page, and when; and why there may be less of it than there is."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Generic, Literal, TypeVar

from app.collect import page_queries, queries
from app.collect.model import Collection, Collector, Connections, Fleet, Index, Note, Schema, Statement, Table
from app.collect.page_queries import Page, Position
from app.db.pool import Connection

T = TypeVar("T")

_NEVER: Final = Note(
    reason="Nothing was collected yet.",
    mend="A worker does: bf-admin worker, with BF_COLLECT_INTERVAL and BF_COLLECT_TENANTS_INTERVAL above 0.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """`following` is where the next page begins; `taken_at` when the collector last ended; `notes` what it missed."""

    items: Sequence[T]
    following: Position | None
    taken_at: datetime | None
    notes: Sequence[Note]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    fleet: Fleet | None
    collections: Sequence[Collection]


async def overview(conn: Connection) -> Overview:
    """The database as a whole, and how collecting goes."""
    found = await queries.collections(conn)
    return Overview(fleet=await queries.fleet(conn), collections=list(found.values()))


async def tables(
    conn: Connection,
    *,
    tenant_id: str | None,
    table: str | None,
    order_by: page_queries.TableOrder,
    after: Position | None,
    size: int,
) -> Listing[Table]:
    async def rows(page: Page) -> list[Table]:
        return await page_queries.tables(conn, page, tenant_id=tenant_id, table=table)

    return await _listing(
        conn,
        Collector.TENANTS,
        rows,
        lambda row: (getattr(row, order_by.lstrip("-")), (row.tenant_id, row.table_name)),
        Page(order_by=order_by, after=after, limit=size + 1),
    )


async def indexes(
    conn: Connection,
    *,
    tenant_id: str | None,
    table: str | None,
    only: Literal["", "invalid", "unused"],
    order_by: page_queries.IndexOrder,
    after: Position | None,
    size: int,
) -> Listing[Index]:
    async def rows(page: Page) -> list[Index]:
        return await page_queries.indexes(conn, page, tenant_id=tenant_id, table=table, only=only)

    return await _listing(
        conn,
        Collector.TENANTS,
        rows,
        lambda row: (getattr(row, order_by.lstrip("-")), (row.tenant_id, row.index_name)),
        Page(order_by=order_by, after=after, limit=size + 1),
    )


async def schemas(
    conn: Connection,
    *,
    tenant_id: str | None,
    broken: bool,
    order_by: page_queries.SchemaOrder,
    after: Position | None,
    size: int,
) -> Listing[Schema]:
    async def rows(page: Page) -> list[Schema]:
        return await page_queries.schemas(conn, page, tenant_id=tenant_id, broken=broken)

    return await _listing(
        conn,
        Collector.TENANTS,
        rows,
        lambda row: (getattr(row, order_by.lstrip("-")), (row.tenant_id,)),
        Page(order_by=order_by, after=after, limit=size + 1),
    )


async def statements(
    conn: Connection,
    *,
    tenant_id: str | None,
    role: str | None,
    order_by: page_queries.StatementOrder,
    after: Position | None,
    size: int,
) -> Listing[Statement]:
    async def rows(page: Page) -> list[Statement]:
        return await page_queries.statements(conn, page, tenant_id=tenant_id, role=role)

    return await _listing(
        conn,
        Collector.STATEMENTS,
        rows,
        lambda row: (getattr(row, order_by.lstrip("-")), (row.id,)),
        Page(order_by=order_by, after=after, limit=size + 1),
    )


async def connections(
    conn: Connection,
    *,
    role: str | None,
    state: str | None,
    order_by: page_queries.ConnectionOrder,
    after: Position | None,
    size: int,
) -> Listing[Connections]:
    async def rows(page: Page) -> list[Connections]:
        return await page_queries.connections(conn, page, role=role, state=state)

    return await _listing(
        conn,
        Collector.FLEET,
        rows,
        lambda row: (getattr(row, order_by.lstrip("-")), (row.role, row.application, row.state)),
        Page(order_by=order_by, after=after, limit=size + 1),
    )


async def _listing(
    conn: Connection,
    collector: Collector,
    rows: Callable[[Page], Awaitable[list[T]]],
    position: Callable[[T], tuple[float | int | str, Sequence[str]]],
    page: Page,
) -> Listing[T]:
    last = (await queries.collections(conn)).get(collector)
    found = await rows(page)
    more = len(found) == page.limit
    found = found[: page.limit - 1]
    following: Position | None = None
    if more:
        value, names = position(found[-1])
        following = (None if isinstance(value, str) else value, names)
    return Listing(
        items=found, following=following, taken_at=None if last is None else last.succeeded_at, notes=_notes(last)
    )


def _notes(last: Collection | None) -> Sequence[Note]:
    if last is None or (last.succeeded_at is None and last.error is None):
        return (_NEVER,)
    if last.error is not None:
        return (Note(reason=f"The last collection failed: {last.error}"), *last.notes)
    return last.notes
