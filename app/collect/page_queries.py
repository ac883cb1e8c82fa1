"""SQL of lists of snapshots: a statement for each order, with what is filtered by where an index has it.

Each is put together of constants. All of one list have the same parameters: those that a statement has no use for are
NULL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Final, Literal, get_args

from app.collect.model import Connections, Index, Schema, Statement, Table
from app.collect.queries import schema_of, table_of
from app.db.pool import Connection

TableOrder = Literal[
    "total_bytes", "-total_bytes", "live_rows", "-live_rows", "dead_rows", "-dead_rows", "tenant_id", "-tenant_id"
]
IndexOrder = Literal["tuples_read", "-tuples_read", "scans", "-scans", "bytes", "-bytes", "tenant_id", "-tenant_id"]
SchemaOrder = TableOrder
StatementOrder = Literal["mean_ms", "-mean_ms", "total_ms", "-total_ms", "calls", "-calls"]
ConnectionOrder = Literal["connections", "-connections", "waiting", "-waiting"]

# Where a page begins: the order's value of the last row before it, and that row's name, in parts.
Position = tuple[float | int | None, Sequence[str]]

_TABLES: Final = """
       t.tenant_id, t.table_name, s.taken_at, t.total_bytes, t.heap_bytes, t.index_bytes, t.toast_bytes, t.live_rows,
       t.dead_rows, t.sequential_scans, t.index_count, t.policy_count, t.rls_enabled, t.rls_forced, t.last_vacuum_at,
       t.last_analyze_at
  FROM bf_control.table_snapshot t JOIN bf_control.schema_snapshot s ON s.tenant_id = t.tenant_id
 WHERE ($2::text IS NULL OR t.table_name = $2)
"""
_INDEXES: Final = """
       t.tenant_id, t.index_name, t.table_name, s.taken_at, t.bytes, t.scans, t.tuples_read, t.tuples_fetched,
       t.is_unique, t.is_valid, t.is_unused
  FROM bf_control.index_snapshot t JOIN bf_control.schema_snapshot s ON s.tenant_id = t.tenant_id
 WHERE ($2::text IS NULL OR t.table_name = $2)
"""
_SCHEMAS: Final = """
       t.tenant_id, t.taken_at, t.total_bytes, t.heap_bytes, t.index_bytes, t.toast_bytes, t.live_rows, t.dead_rows,
       t.table_count, t.index_count, t.invalid_indexes, t.unused_indexes, t.missing_tables, t.missing_indexes,
       t.open_tables, t.intact
  FROM bf_control.schema_snapshot t
 WHERE $2::text IS NULL
"""
_STATEMENTS: Final = """
       t.id, t.tenant_id, t.role, t.query, t.calls, t.total_ms, t.mean_ms, t.max_ms, t.rows, t.blocks_read
  FROM bf_control.statement_snapshot t
 WHERE ($2::text IS NULL OR t.role = $2)
"""
_CONNECTIONS: Final = """
       t.role, t.application, t.state, t.connections, t.waiting, t.oldest_transaction_seconds,
       t.longest_in_state_seconds
  FROM bf_control.connection_snapshot t
 WHERE ($1::text IS NULL OR t.role = $1) AND ($2::text IS NULL OR t.state = $2)
"""
# What there are few of is found by an index of those alone.
_ALL: Final = "AND $1::text IS NULL"
_OF_ONE: Final = "AND t.tenant_id = $1::text"
_ALL_OR_ONE: Final = {"": _ALL, "tenant_id": _OF_ONE}
_INDEXES_OF: Final = {
    **_ALL_OR_ONE,
    "invalid": "AND $1::text IS NULL AND NOT t.is_valid",
    "unused": "AND $1::text IS NULL AND t.is_unused",
    "tenant_id invalid": "AND t.tenant_id = $1::text AND NOT t.is_valid",
    "tenant_id unused": "AND t.tenant_id = $1::text AND t.is_unused",
}
_SCHEMAS_OF: Final = {
    **_ALL_OR_ONE,
    "broken": "AND $1::text IS NULL AND NOT t.intact",
    "tenant_id broken": "AND t.tenant_id = $1::text AND NOT t.intact",
}
_COLUMNS: Final = {
    "tenant_id": "t.tenant_id",
    "total_bytes": "t.total_bytes",
    "live_rows": "t.live_rows",
    "dead_rows": "t.dead_rows",
    "tuples_read": "t.tuples_read",
    "scans": "t.scans",
    "bytes": "t.bytes",
    "mean_ms": "t.mean_ms",
    "total_ms": "t.total_ms",
    "calls": "t.calls",
    "connections": "t.connections",
    "waiting": "t.waiting",
}
# $3 is the order's value of the last row before, $4 to $6 its name, $7 how many.
_VALUES: Final = {"t.mean_ms": "$3::double precision", "t.total_ms": "$3::double precision"}
_WHOLE: Final = "$3::bigint"
_NAMES: Final = ("$4::text", "$5::text", "$6::text")


def _statements(
    select: str, some: Mapping[str, str], orders: Sequence[str], names: Sequence[str]
) -> Mapping[tuple[str, str, bool], str]:
    """By what is chosen, the order, and whether it begins beyond a row."""
    return {
        (chosen, order, beyond): " ".join(
            ("SELECT", select, some[chosen], *_walk(order, names, beyond=beyond), "LIMIT $7")
        )
        for chosen, order, beyond in product(some, orders, (False, True))
    }


def _walk(order: str, names: Sequence[str], *, beyond: bool) -> list[str]:
    """From where, and in which order."""
    descending, column = order.startswith("-"), _COLUMNS[order.lstrip("-")]
    value = _VALUES.get(column, _WHOLE)
    columns, values = list(names), list(_NAMES[: len(names)])
    if column not in names:
        columns, values = [column, *columns], [value, *values]
    parts: list[str] = []
    for unused in (value, *_NAMES):
        parts += [] if beyond and unused in values else ["AND", unused, "IS NULL"]
    if beyond:
        parts += ["AND (", ", ".join(columns), ") < (" if descending else ") > (", ", ".join(values), ")"]
    return [*parts, "ORDER BY", (" DESC, " if descending else ", ").join(columns), "DESC" if descending else ""]


_TABLE_PAGES: Final = _statements(_TABLES, _ALL_OR_ONE, get_args(TableOrder), ("t.tenant_id", "t.table_name"))
_INDEX_PAGES: Final = _statements(_INDEXES, _INDEXES_OF, get_args(IndexOrder), ("t.tenant_id", "t.index_name"))
_SCHEMA_PAGES: Final = _statements(_SCHEMAS, _SCHEMAS_OF, get_args(SchemaOrder), ("t.tenant_id",))
_STATEMENT_PAGES: Final = _statements(_STATEMENTS, _ALL_OR_ONE, get_args(StatementOrder), ("t.id",))
_CONNECTION_PAGES: Final = _statements(
    _CONNECTIONS, {"": ""}, get_args(ConnectionOrder), ("t.role", "t.application", "t.state")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Which rows: `limit` of them, in this order, from beyond `after`."""

    order_by: str
    after: Position | None
    limit: int

    def values(self) -> tuple[Any, ...]:
        """$3 to $7. An order by name alone has no value."""
        if self.after is None:
            return (None, None, None, None, self.limit)
        value, names = self.after
        by_name = self.order_by.lstrip("-") == "tenant_id"
        return (None if by_name else value, *names, *[None] * (3 - len(names)), self.limit)


async def tables(conn: Connection, page: Page, *, tenant_id: str | None, table: str | None) -> list[Table]:
    rows = await conn.fetch(
        _TABLE_PAGES[_chosen(tenant_id), page.order_by, page.after is not None], tenant_id, table, *page.values()
    )
    return [table_of(row) for row in rows]


async def indexes(
    conn: Connection, page: Page, *, tenant_id: str | None, table: str | None, only: Literal["", "invalid", "unused"]
) -> list[Index]:
    """Those that are invalid, or unused, or all."""
    chosen = _chosen(tenant_id, only)
    rows = await conn.fetch(
        _INDEX_PAGES[chosen, page.order_by, page.after is not None], tenant_id, table, *page.values()
    )
    return [Index(**dict(row)) for row in rows]


async def schemas(conn: Connection, page: Page, *, tenant_id: str | None, broken: bool) -> list[Schema]:
    """Those that are not as they must be, or all."""
    chosen = _chosen(tenant_id, "broken" if broken else "")
    rows = await conn.fetch(
        _SCHEMA_PAGES[chosen, page.order_by, page.after is not None], tenant_id, None, *page.values()
    )
    return [schema_of(row) for row in rows]


async def statements(conn: Connection, page: Page, *, tenant_id: str | None, role: str | None) -> list[Statement]:
    rows = await conn.fetch(
        _STATEMENT_PAGES[_chosen(tenant_id), page.order_by, page.after is not None], tenant_id, role, *page.values()
    )
    return [Statement(**dict(row)) for row in rows]


async def connections(conn: Connection, page: Page, *, role: str | None, state: str | None) -> list[Connections]:
    rows = await conn.fetch(_CONNECTION_PAGES["", page.order_by, page.after is not None], role, state, *page.values())
    return [Connections(**dict(row)) for row in rows]


def _chosen(tenant_id: str | None, only: str = "") -> str:
    return " ".join(word for word in ("" if tenant_id is None else "tenant_id", only) if word)
