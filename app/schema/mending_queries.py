"""SQL of putting a schema right; the statements themselves are PostgreSQL's own text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from app.db.pool import Connection, Database
from app.db.translate import translate
from app.errors import DatabaseError, Transient

_CREATE_SCHEMA = "SELECT format('CREATE SCHEMA %I', $1::text)"
# A column that is added may have a default that reads it: the one value that its rows can have.
_CONTEXT = "SELECT set_config('app.current_tenant', $1, true), set_config('lock_timeout', '5s', true)"
# Where tenants have roles of their own, what is granted is granted to it too.
_ENSURE_ROLE = "SELECT bf_control.ensure_tenant_role($1)"
_USED = """
SELECT c.relname::text FROM pg_depend d JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'r'
 WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = to_regnamespace(quote_ident($1))
   AND d.classid = 'pg_class'::regclass AND pg_relation_size(c.oid) > 0
"""
# $4 is a type as format_type() writes it. Whether every value comes through the change and back, and the change.
_RETYPE = """
SELECT format('SELECT EXISTS (SELECT FROM %1$I.%2$I t
                               WHERE ((t.%3$I::%4$s)::%5$s)::text IS DISTINCT FROM t.%3$I::text)',
              $1::text, $2::text, $3::text, $4::text, format_type(a.atttypid, a.atttypmod)) AS lossy,
       ARRAY[format('ALTER TABLE %I.%I ALTER COLUMN %I DROP DEFAULT', $1, $2, $3),
             format('ALTER TABLE %1$I.%2$I ALTER COLUMN %3$I TYPE %4$s USING %3$I::%4$s', $1, $2, $3, $4)] AS statements
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $3
 WHERE c.relname = $2 AND c.relnamespace = to_regnamespace(quote_ident($1))
"""
_ANY_ROW = "SELECT format('SELECT EXISTS (SELECT FROM %I.%I)', $1::text, $2::text)"
_ANY_VALUE = "SELECT format('SELECT EXISTS (SELECT FROM %I.%I t WHERE t.%I IS NOT NULL)', $1::text, $2::text, $3::text)"
# Longer than elsewhere: who builds an index concurrently waits for others, and is in nobody's way.
_PATIENT = "SET lock_timeout = '30s'"
_AS_BEFORE = "RESET lock_timeout"


async def create_schema(conn: Connection, schema_name: str) -> str:
    """The statement."""
    return str(await conn.fetchval(_CREATE_SCHEMA, schema_name))


async def begin(conn: Connection, tenant_id: str) -> None:
    """Settings for the rest of the transaction; the tenant's role, where it is to have one."""
    await conn.execute(_ENSURE_ROLE, tenant_id)
    await conn.execute(_CONTEXT, tenant_id)


async def used(conn: Connection, schema_name: str) -> set[str]:
    """The tables that have pages, and so perhaps rows."""
    return {row[0] for row in await conn.fetch(_USED, schema_name)}


async def retype(
    conn: Connection, schema_name: str, table: str, column: str, type_name: str
) -> tuple[str, tuple[str, str]]:
    """What asks whether the change would lose anything, and the two statements of the change."""
    row: Any = await conn.fetchrow(_RETYPE, schema_name, table, column, type_name)
    dropping, changing = row["statements"]
    return row["lossy"], (dropping, changing)


async def any_row(conn: Connection, schema_name: str, table: str) -> str:
    """What asks for it; the owner must see the rows."""
    return str(await conn.fetchval(_ANY_ROW, schema_name, table))


async def any_value(conn: Connection, schema_name: str, table: str, column: str) -> str:
    return str(await conn.fetchval(_ANY_VALUE, schema_name, table, column))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """Asked `after` so many statements; a yes ends it, for the `reason`."""

    after: int
    question: str
    reason: str


async def attempt(conn: Connection, statements: Sequence[str], *, guard: Guard | None = None) -> str | None:
    """All of them or none; None where it went well, else why not.

    Raises what may pass: locks, deadlocks, a lost connection.
    """
    savepoint = conn.transaction()
    await savepoint.start()
    try:
        reason = await _run(conn, statements, guard)
    except asyncpg.PostgresError as error:
        reason = _refusal(error)
    await (savepoint.commit() if reason is None else savepoint.rollback())
    return reason


async def _run(conn: Connection, statements: Sequence[str], guard: Guard | None) -> str | None:
    for place, statement in enumerate(statements):
        if guard is not None and place == guard.after and await conn.fetchval(guard.question):
            return guard.reason
        await conn.execute(statement)
    return None


async def aside(database: Database, statements: Sequence[str]) -> str | None:
    """One by one, outside of a transaction. As attempt(), but what went before a refusal is done."""
    async with database.connection() as conn:
        await conn.execute(_PATIENT)
        try:
            for statement in statements:
                await conn.execute(statement)
        except asyncpg.PostgresError as error:
            return _refusal(error)
        finally:
            if not conn.is_closed():
                await conn.execute(_AS_BEFORE)
    return None


def _refusal(error: asyncpg.PostgresError) -> str:
    told = translate(error)
    if not isinstance(told, DatabaseError) or isinstance(told, Transient):
        raise error
    return told.detail if told.hint is None else f"{told.detail} ({told.hint})"
