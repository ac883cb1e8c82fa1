"""bf-admin health fleet, tables, indexes, queries, connections: what was collected, not what is there at this moment"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args

import typer

from app.cli.failure import usage
from app.cli.installed import installed
from app.cli.output import Json, emit_json, run, settings, size, table
from app.collect import page_queries, service
from app.collect.model import Fleet
from app.collect.service import Listing, Overview
from app.db.pool import Connection
from app.settings import Settings

if TYPE_CHECKING:
    from app.collect.schemas import Row

T = TypeVar("T")

cli = typer.Typer(no_args_is_help=True)

TenantId = Annotated[str | None, typer.Option("--tenant-id", help="Of this tenant alone.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many.")]
Table = Annotated[str | None, typer.Option("--table", help="For example budget_lines.")]
Role = Annotated[str | None, typer.Option("--role", help="Of this role alone.")]


def _order(text: str, orders: object) -> Any:
    """One of the literals. Raises Failure."""
    if text not in get_args(orders):
        raise usage({"--order-by": f"is one of {', '.join(get_args(orders))}"})
    return text


@cli.command("fleet")
def fleet(
    tenant_id: TenantId = None,
    broken: Annotated[bool, typer.Option("--broken", help="Only those that are not as they must be.")] = False,
    order_by: Annotated[str, typer.Option(help="total_bytes, live_rows, dead_rows or tenant_id, or -… of it.")] = (
        "tenant_id"
    ),
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show the database as a whole, how collecting goes, and whether each tenant's schema is whole."""
    order = _order(order_by, page_queries.SchemaOrder)

    async def read(conn: Connection) -> tuple[Overview, Listing[Any]]:
        found = await service.schemas(conn, tenant_id=tenant_id, broken=broken, order_by=order, after=None, size=limit)
        return await service.overview(conn), found

    overview, found = run(_read(settings(), read))
    if as_json:
        from app.collect.schemas import SchemaSnapshotOut, overview_out

        emit_json({**overview_out(overview), **_document(found, SchemaSnapshotOut)})
        return
    if overview.fleet is not None:
        _show_database(overview.fleet)
    _show(
        found,
        ["tenant", "size", "rows", "dead", "tables", "indexes", "wrong"],
        lambda s: [s.tenant_id, size(s.total_bytes), s.live_rows, s.dead_rows, s.table_count, s.index_count, _wrong(s)],
    )


@cli.command("tables")
def tables(
    tenant_id: TenantId = None,
    table: Table = None,
    order_by: Annotated[str, typer.Option(help="total_bytes, live_rows, dead_rows or tenant_id, or -… of it.")] = (
        "-total_bytes"
    ),
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show sizes and rows of tenants' tables, the largest first."""
    from app.collect.schemas import TableSnapshotOut

    order = _order(order_by, page_queries.TableOrder)

    async def read(conn: Connection) -> Listing[Any]:
        return await service.tables(conn, tenant_id=tenant_id, table=table, order_by=order, after=None, size=limit)

    _list(
        read,
        TableSnapshotOut,
        ["tenant", "table", "size", "rows", "dead", "last vacuum", "last analyze"],
        lambda t: [
            t.tenant_id,
            t.table_name,
            size(t.total_bytes),
            t.live_rows,
            t.dead_rows,
            _time(t.last_vacuum_at),
            _time(t.last_analyze_at),
        ],
        as_json=as_json,
    )


@cli.command("indexes")
def indexes(
    tenant_id: TenantId = None,
    table: Table = None,
    unused: Annotated[bool, typer.Option("--unused", help="Those that nothing has scanned.")] = False,
    invalid: Annotated[bool, typer.Option("--invalid", help="What a failed CREATE INDEX has left.")] = False,
    order_by: Annotated[str, typer.Option(help="tuples_read, scans, bytes or tenant_id, or -… of it.")] = (
        "-tuples_read"
    ),
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show how tenants' indexes are used, those that are read most first."""
    from app.collect.schemas import IndexSnapshotOut

    if unused and invalid:
        raise usage({"--invalid": "is shown alone, without --unused"})
    order = _order(order_by, page_queries.IndexOrder)
    only: Literal["", "unused", "invalid"] = "unused" if unused else "invalid" if invalid else ""

    async def read(conn: Connection) -> Listing[Any]:
        return await service.indexes(
            conn, tenant_id=tenant_id, table=table, only=only, order_by=order, after=None, size=limit
        )

    _list(
        read,
        IndexSnapshotOut,
        ["tenant", "index", "size", "scans", "read", "fetched", "is"],
        lambda i: [i.tenant_id, i.index_name, size(i.bytes), i.scans, i.tuples_read, i.tuples_fetched, _kind(i)],
        as_json=as_json,
    )


@cli.command("queries")
def queries(
    tenant_id: TenantId = None,
    role: Role = None,
    order_by: Annotated[str, typer.Option(help="mean_ms, total_ms or calls, or -… of it.")] = "-mean_ms",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show slow statements, the slowest first."""
    from app.collect.schemas import StatementSnapshotOut

    order = _order(order_by, page_queries.StatementOrder)

    async def read(conn: Connection) -> Listing[Any]:
        return await service.statements(conn, tenant_id=tenant_id, role=role, order_by=order, after=None, size=limit)

    _list(
        read,
        StatementSnapshotOut,
        ["tenant", "role", "calls", "mean ms", "total ms", "query"],
        lambda s: [s.tenant_id or "", s.role, s.calls, f"{s.mean_ms:.2f}", f"{s.total_ms:.0f}", s.query],
        as_json=as_json,
    )


@cli.command("connections")
def connections(
    role: Role = None,
    state: Annotated[str | None, typer.Option(help="For example 'idle in transaction'.")] = None,
    order_by: Annotated[str, typer.Option(help="connections or waiting, or -… of it.")] = "-connections",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """Show who is connected, by role, application and state."""
    from app.collect.schemas import ConnectionSnapshotOut

    order = _order(order_by, page_queries.ConnectionOrder)

    async def read(conn: Connection) -> Listing[Any]:
        return await service.connections(conn, role=role, state=state, order_by=order, after=None, size=limit)

    _list(
        read,
        ConnectionSnapshotOut,
        ["role", "application", "state", "connections", "waiting", "oldest transaction"],
        lambda c: [c.role, c.application, c.state, c.connections, c.waiting, _seconds(c.oldest_transaction_seconds)],
        as_json=as_json,
    )


async def _read(loaded: Settings, read: Callable[[Connection], Awaitable[T]]) -> T:
    async with installed(loaded) as db, db.connection() as conn:
        return await read(conn)


def _list(
    read: Callable[[Connection], Awaitable[Listing[Any]]],
    item: "type[Row]",
    columns: Sequence[str],
    row: Callable[[Any], Sequence[object]],
    *,
    as_json: bool,
) -> None:
    found = run(_read(settings(), read))
    if as_json:
        emit_json(_document(found, item))
    else:
        _show(found, columns, row)


def _document(found: Listing[Any], item: "type[Row]") -> dict[str, Any]:
    from app.collect.schemas import NoteOut

    return {
        "taken_at": found.taken_at,
        "notes": [NoteOut.of(note).model_dump(mode="json") for note in found.notes],
        "items": [item.of(each).model_dump(mode="json") for each in found.items],
    }


def _show(found: Listing[Any], columns: Sequence[str], row: Callable[[Any], Sequence[object]]) -> None:
    """The rows on standard output; when they were seen, and what is missing, on standard error."""
    table(columns, [[str(value) for value in row(each)] for each in found.items])
    if found.following is not None:
        typer.echo("… and more: --limit", err=True)
    if found.taken_at is not None:
        typer.echo(f"Seen at {_time(found.taken_at)}.", err=True)
    for note in found.notes:
        typer.echo(note.reason if note.mend is None else f"{note.reason}\n  mend  {note.mend}", err=True)


def _show_database(fleet: Fleet) -> None:
    typer.echo(f"database      {size(fleet.database_bytes)}")
    typer.echo(f"connections   {fleet.connections} of {fleet.max_connections}")
    typer.echo(f"locks         {fleet.locks_used} of {fleet.locks_limit}")
    typer.echo(f"transactions  {fleet.transaction_age} not frozen")
    for wait in fleet.lock_waits:
        typer.echo(f"waiting       {wait.waiting} for {wait.relation} ({wait.mode}), held by {', '.join(wait.holders)}")


def _wrong(schema: Any) -> str:
    parts = {
        "missing": [*schema.missing_tables, *schema.missing_indexes],
        "row-level security of": schema.open_tables,
        "invalid indexes": [str(schema.invalid_indexes)] if schema.invalid_indexes else [],
    }
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts.items() if names)


def _kind(index: Any) -> str:
    told = {"invalid": not index.is_valid, "unused": index.is_unused, "unique": index.is_unique}
    return ", ".join(name for name, holds in told.items() if holds)


def _time(when: datetime | None) -> str:
    return "" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _seconds(count: float | None) -> str:
    return "" if count is None else f"{count:.0f} s"
