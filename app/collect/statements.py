"""Slow statements, and whose they are."""

from collections.abc import Mapping
from typing import Any, Final

from app.collect import fleet_queries
from app.collect.model import Note, Statement
from app.collect.redact import redacted, schemas_in
from app.db.pool import Connection

_WHY_NOT: Final[dict[str, Note]] = {
    "missing": Note(
        reason="The extension pg_stat_statements is not installed in this database.",
        mend="CREATE EXTENSION pg_stat_statements; "
        "with shared_preload_libraries = 'pg_stat_statements' in postgresql.conf, and a restart.",
    ),
    "not_loaded": Note(
        reason="The extension pg_stat_statements is installed, but its library is not loaded.",
        mend="ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'; and a restart of PostgreSQL.",
    ),
    "outdated": Note(
        reason="The extension pg_stat_statements is of an older PostgreSQL.",
        mend="ALTER EXTENSION pg_stat_statements UPDATE;",
    ),
}


async def look(conn: Connection) -> list[Note]:
    """Keeps the statements that took most of the time, or says why there are none, or not all."""
    state = await fleet_queries.statements_state(conn)
    if state != "ready":
        await fleet_queries.keep_statements(conn, [])
        return [_WHY_NOT.get(state) or await _forbidden(conn)]
    rows = await fleet_queries.statements(conn)
    names = {row["query_id"]: frozenset(schemas_in(redacted(row["query"] or ""))) for row in rows}
    schemas = await fleet_queries.tenants_of_schemas(conn, frozenset().union(*names.values()))
    roles = await fleet_queries.tenants_of_roles(conn, {row["role"] for row in rows})
    found = [_statement(row, names[row["query_id"]], schemas, roles) for row in rows]
    await fleet_queries.keep_statements(conn, found)
    hidden = await fleet_queries.rights(conn)
    return [] if hidden is None else [hidden]


async def _forbidden(conn: Connection) -> Note:
    return Note(reason="The view pg_stat_statements may not be read.", mend=await fleet_queries.statements_mend(conn))


def _statement(row: Any, names: frozenset[str], schemas: Mapping[str, str], roles: Mapping[str, str]) -> Statement:
    tenants = {schemas[name] for name in names if name in schemas}
    tenants |= {roles[row["role"]]} if row["role"] in roles else set()
    calls = row["calls"]
    return Statement(
        id=f"{row['query_id'] % 2**64:016x}/{row['role']}",
        tenant_id=tenants.pop() if len(tenants) == 1 else None,
        role=row["role"],
        query=redacted(row["query"] or ""),
        calls=calls,
        total_ms=row["total_ms"],
        mean_ms=row["total_ms"] / calls if calls else 0.0,
        max_ms=row["max_ms"],
        rows=row["rows"],
        blocks_read=row["blocks_read"],
    )
