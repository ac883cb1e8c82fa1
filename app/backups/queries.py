"""SQL of backups: what is read of a tenant, and what is kept of its archives."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg import Record

from app.backups.archive import Rows
from app.backups.model import Archive, Backup, Subject, TableSum
from app.db.pool import Connection

# Whether the connected role may read as the audit role, and the statement that lets it.
_READER = """
SELECT r.name AS role_name,
       pg_has_role(current_user, r.name,
                   CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END)
           AS granted,
       format('GRANT %I TO %I;', r.name, current_user) AS mend
  FROM (SELECT bf_control.setting_of('audit_role') AS name) AS r
"""
# A tenant that is being upgraded is waited for, and an upgrade waits for this; all else goes on.
_SUBJECT = """
SELECT tenant_id, generation, schema_name, schema_version FROM bf_control.tenant WHERE tenant_id = $1 FOR KEY SHARE
"""
_RECORDS = "SELECT bf_control.tenant_records($1)"
_EXPORT = "SELECT pg_export_snapshot()"
_STAY = "SELECT"
_SET_ROLE = "SELECT format('SET LOCAL ROLE %I', bf_control.setting_of('audit_role'))"
_OWN_ROLE = "SET LOCAL ROLE NONE"
# What a row is as text depends on these.
_PLAIN = """
SELECT set_config('TimeZone', 'UTC', true), set_config('DateStyle', 'ISO, MDY', true),
       set_config('IntervalStyle', 'postgres', true), set_config('bytea_output', 'hex', true),
       set_config('extra_float_digits', '1', true)
"""
# The tables of a schema, found through pg_depend's index, each with what counts and sums up its rows.
_SUMS = """
SELECT c.relname::text AS name,
       format('SELECT count(*) AS rows, coalesce(sum(hashtextextended(t::text, 0)), 0)::text AS checksum FROM %I.%I t',
              n.nspname, c.relname) AS statement,
       format('LOCK TABLE %I.%I IN ACCESS EXCLUSIVE MODE', n.nspname, c.relname) AS lock
  FROM pg_namespace n
  JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
                  AND d.classid = 'pg_class'::regclass
  JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'r'
 WHERE n.nspname = $1 ORDER BY c.relname
"""
_PUT = """
INSERT INTO bf_control.backup
    (id, tenant_id, generation, schema_name, schema_version, server_version, client_version, created_by, reason, url,
     sha256, bytes, tables, records)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
    ON CONFLICT (id) DO UPDATE
   SET created_at = now(), schema_version = EXCLUDED.schema_version, server_version = EXCLUDED.server_version,
       client_version = EXCLUDED.client_version, url = EXCLUDED.url, sha256 = EXCLUDED.sha256, bytes = EXCLUDED.bytes,
       tables = EXCLUDED.tables, records = EXCLUDED.records
RETURNING created_at
"""
_GET = """
SELECT id, tenant_id, generation, schema_name, schema_version, server_version, client_version, created_at, created_by,
       reason, url, sha256, bytes, tables, records
  FROM bf_control.backup WHERE tenant_id = $1 AND id = $2
"""
_LATEST = """
SELECT id, tenant_id, generation, schema_name, schema_version, server_version, client_version, created_at, created_by,
       reason, url, sha256, bytes, tables, records
  FROM bf_control.backup WHERE tenant_id = $1 ORDER BY created_at DESC, id DESC LIMIT 1
"""
# $2 and $3 the last one of the page before. What of the tenant is kept with them is not read for a list.
_PAGE = """
SELECT id, tenant_id, generation, schema_name, schema_version, server_version, client_version, created_at, created_by,
       reason, url, sha256, bytes, tables, '{}'::jsonb AS records
  FROM bf_control.backup
 WHERE tenant_id = $1 AND ($2::text IS NULL OR (created_at, id) < ($2::text::timestamptz, $3::text::uuid))
 ORDER BY created_at DESC, id DESC LIMIT $4
"""
_OCCUPIED = "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL"
_RESTORE_PATH = """
SELECT set_config('search_path', '', true), set_config('check_function_bodies', 'off', true),
       set_config('client_min_messages', 'warning', true)
"""
# One that the archive names, whatever the setting is now: keep_tenant_role() has the last word.
_MAKE_TENANT_ROLE = """
SELECT bf_control.make_role(bf_control.tenant_role($1), format('tenant %s of database %s', $1, current_database())),
       bf_control.tenant_role($1) AS role_name
"""
_RESTORE_RECORDS = "SELECT bf_control.restore_tenant_records($1, $2, $3, $4)"


class Reader(NamedTuple):
    """Who reads over all rows; where it is not `granted`, `mend` is the statement that grants it."""

    role_name: str
    granted: bool
    mend: str


async def reader(conn: Connection) -> Reader:
    row: Any = await conn.fetchrow(_READER)
    return Reader(row["role_name"], row["granted"], row["mend"])


@asynccontextmanager
async def snapshot(conn: Connection) -> AsyncIterator[None]:
    """A transaction that sees one moment."""
    async with conn.transaction(isolation="repeatable_read"):
        yield


async def export(conn: Connection) -> str:
    """For another session to see the same moment, as long as this transaction lasts."""
    return str(await conn.fetchval(_EXPORT))


async def stay(conn: Connection) -> None:
    """The server ends a transaction that idles too long."""
    await conn.execute(_STAY)


async def subject(conn: Connection, tenant_id: str) -> Subject | None:
    """As the transaction sees it; None where there is no such tenant, or no schema."""
    row: Any = await conn.fetchrow(_SUBJECT, tenant_id)
    if row is None or row["schema_version"] is None:
        return None
    return Subject(
        tenant_id=row["tenant_id"],
        generation=row["generation"],
        schema_name=row["schema_name"],
        schema_version=row["schema_version"],
        server_version=conn.get_server_version().major,
        tables={},
        records=await conn.fetchval(_RECORDS, tenant_id),
    )


async def sums(conn: Connection, schema_name: str) -> dict[str, TableSum]:
    """Of all rows of each table, read as the audit role. Leaves settings behind until the transaction ends."""
    tables = await conn.fetch(_SUMS, schema_name)
    await conn.execute(_PLAIN)
    found = {}
    async with reading_all(conn):
        for table in tables:
            row: Any = await conn.fetchrow(table["statement"])
            found[table["name"]] = TableSum(rows=row["rows"], checksum=row["checksum"])
    return found


@asynccontextmanager
async def reading_all(conn: Connection) -> AsyncIterator[None]:
    """In a transaction, as the audit role: every row is seen. What raises leaves the role to the rollback."""
    await conn.execute(await conn.fetchval(_SET_ROLE))
    yield
    await conn.execute(_OWN_ROLE)


async def lock_tables(conn: Connection, schema_name: str) -> None:
    """Nobody reads or writes them until the transaction ends."""
    for table in await conn.fetch(_SUMS, schema_name):
        await conn.execute(table["lock"])


async def put(conn: Connection, backup: Backup) -> Backup:
    """Of an operation that is tried again, the newer one."""
    subject, archive = backup.subject, backup.archive
    await conn.execute(
        _PUT,
        backup.id,
        subject.tenant_id,
        subject.generation,
        subject.schema_name,
        subject.schema_version,
        subject.server_version,
        archive.client_version,
        backup.created_by,
        backup.reason,
        archive.url,
        archive.sha256,
        archive.size,
        {name: {"rows": table.rows, "checksum": table.checksum} for name, table in subject.tables.items()},
        subject.records,
    )
    return backup


async def get(conn: Connection, tenant_id: str, backup_id: UUID) -> Backup | None:
    row = await conn.fetchrow(_GET, tenant_id, backup_id)
    return None if row is None else _backup(row)


async def latest(conn: Connection, tenant_id: str) -> Backup | None:
    row = await conn.fetchrow(_LATEST, tenant_id)
    return None if row is None else _backup(row)


async def page(conn: Connection, tenant_id: str, *, after: tuple[str, str] | None, limit: int) -> list[Backup]:
    """Up to `limit` backups, the newest first, beyond `after`: created_at in ISO 8601, and the id. Without records."""
    created_at, last = (None, None) if after is None else after
    return [_backup(row) for row in await conn.fetch(_PAGE, tenant_id, created_at, last, limit)]


async def occupied(conn: Connection, schema_name: str) -> bool:
    """Whether there is a schema of that name."""
    return bool(await conn.fetchval(_OCCUPIED, schema_name))


async def prepare_restore(conn: Connection) -> None:
    """Every name that an archive has is qualified."""
    await conn.execute(_RESTORE_PATH)


async def make_tenant_role(conn: Connection, tenant_id: str) -> str:
    """The name of the tenant's own role in this database, which is there now."""
    row: Any = await conn.fetchrow(_MAKE_TENANT_ROLE, tenant_id)
    return str(row["role_name"])


async def execute(conn: Connection, statement: str) -> None:
    """A statement out of an archive whose checksum was compared."""
    await conn.execute(statement)


async def copy(conn: Connection, rows: Rows) -> None:
    async def lines() -> AsyncIterator[bytes]:
        async for batch in rows.lines:
            if batch:
                yield b"\n".join(batch) + b"\n"

    await conn.copy_to_table(rows.table, source=lines(), columns=rows.columns, schema_name=rows.schema_name)


async def restore_records(conn: Connection, backup: Backup, operation_id: UUID) -> None:
    """What of the tenant is kept outside its schema; from here on it is what it was before it was deleted."""
    subject = backup.subject
    await conn.execute(_RESTORE_RECORDS, subject.tenant_id, subject.records, subject.schema_version, operation_id)


def _backup(row: Record) -> Backup:
    return Backup(
        id=UUID(str(row["id"])),
        subject=Subject(
            tenant_id=row["tenant_id"],
            generation=row["generation"],
            schema_name=row["schema_name"],
            schema_version=row["schema_version"],
            server_version=row["server_version"],
            tables={name: TableSum(**table) for name, table in row["tables"].items()},
            records=row["records"],
        ),
        archive=Archive(url=row["url"], sha256=row["sha256"], size=row["bytes"], client_version=row["client_version"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        reason=row["reason"],
    )
