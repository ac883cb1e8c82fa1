"""SQL of the migration ledger and of the versions in the fleet."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from app.db.pool import Connection
from app.schema.catalogue import Statements

_INSTALLED = "SELECT to_regclass('bf_control.migration') IS NOT NULL"
_LEDGER = "SELECT layer, version, name, checksum, applied_at FROM bf_control.migration ORDER BY layer, version"
_CHECK_RELEASE = "SELECT bf_control.check_release($1::jsonb)"
_SPREAD = """
SELECT schema_version, count(*) AS tenants FROM bf_control.tenant
 WHERE schema_version IS NOT NULL GROUP BY schema_version ORDER BY schema_version
"""
_OUTDATED = """
SELECT tenant_id FROM bf_control.tenant
 WHERE schema_version < (SELECT max(version) FROM bf_control.tenant_statement) AND tenant_id > $1
 ORDER BY tenant_id LIMIT $2
"""
_LATEST = "SELECT max(version) FROM bf_control.tenant_statement"
_ACCEPTING = """
SELECT (SELECT max(version) FROM bf_control.tenant_statement) AS latest,
       (SELECT o.id FROM bf_control.operation o
         WHERE o.kind = 'schema.downgrade' AND o.status IN ('queued', 'running') LIMIT 1) AS downgrade
"""
_BLUEPRINT_ID = "SELECT 'pool_blueprint' || pg_backend_pid()"
_LOADED = "SELECT section, statement FROM bf_control.tenant_statement WHERE version = $1 ORDER BY ordinal"
_RENDERED = """
SELECT bf_control.render_statement(s.statement, $2, $3, bf_control.setting_of('app_role'),
                                   bf_control.setting_of('audit_role'))
  FROM unnest($1::text[]) WITH ORDINALITY AS s(statement, ordinal) ORDER BY s.ordinal
"""
_RLS_ENABLED = "SELECT bf_control.setting_of('enable_rls')::boolean"
_ENSURE_TENANT_ROLE = "SELECT bf_control.ensure_tenant_role($1)"
_ADMITTED = """
SELECT bf_control.setting_of('app_role') AS role_name
UNION ALL
SELECT bf_control.tenant_role($1) WHERE bf_control.has_tenant_roles()
"""
# Before the shared layer knows of them there is no such row, and no role.
_TENANT_ROLES = """
SELECT coalesce((SELECT s.value::boolean FROM bf_control.setting s WHERE s.name = 'tenant_roles'), false)
"""
_USE_TENANT_ROLES = "SELECT bf_control.use_tenant_roles($1)"
# A role may be there before it is given anything: a tenant migration makes it. Names as bf_control.tenant_role()
# makes them.
_OTHER_ROLES = """
SELECT t.tenant_id
  FROM bf_control.tenant t
  JOIN pg_database d ON d.datname = current_database()
  LEFT JOIN pg_roles r ON r.rolname = 'bf_tenant_' || t.tenant_id || '_' || d.oid
  LEFT JOIN pg_namespace n ON n.nspname = t.schema_name
  LEFT JOIN pg_class c ON c.relname = 'budgets' AND c.relnamespace = n.oid
 WHERE t.schema_version IS NOT NULL AND t.tenant_id > $2
   AND CASE WHEN $1::boolean THEN NOT coalesce(has_table_privilege(r.oid, c.oid, 'SELECT'), false)
            ELSE r.oid IS NOT NULL END
 ORDER BY t.tenant_id LIMIT $3
"""
_KEEP_TENANT_ROLE = "SELECT bf_control.keep_tenant_role($1)"
_CLOSED = "SELECT state IN ('suspended', 'deleted', 'purging') FROM bf_control.tenant WHERE tenant_id = $1"
# The blueprint's names in a statement that PostgreSQL has written become a tenant's: $2 and $4 are no part of anything
# else in it, $5 holds nothing that is quoted.
_FOR_TENANT = """
SELECT ARRAY(SELECT replace(replace(s.statement, $2, quote_ident($3)), $4, $5)
               FROM unnest($1::text[]) WITH ORDINALITY AS s(statement, ordinal) ORDER BY s.ordinal)
"""
_ONE_MOMENT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
_CREATE_SCHEMA = "SELECT format('CREATE SCHEMA %I', $1::text)"
_SET_PATH = "SELECT format('SET LOCAL search_path = %I, pg_temp', $1::text)"
_CALL_UPGRADE_TENANT = """
SELECT format('SELECT %I.upgrade_tenant($1)', bf_control.setting_of('shared_schema'))
"""
_TENANT_SCHEMA = "SELECT schema_name, schema_version FROM bf_control.tenant WHERE tenant_id = $1"
_MISSING_PRIVILEGES = """
SELECT format('GRANT CREATE ON DATABASE %I TO %I;', current_database(), current_user) AS statement
 WHERE NOT has_database_privilege(current_user, current_database(), 'CREATE')
UNION ALL
SELECT format('ALTER ROLE %I CREATEROLE;', current_user)
  FROM pg_roles r WHERE r.rolname = current_user AND NOT (r.rolcreaterole OR r.rolsuper) AND $1::boolean
"""
_LOCK_TENANT = """
SELECT schema_name, created_at::text AS created_at, schema_version IS NOT NULL AS built
  FROM bf_control.tenant WHERE tenant_id = $1 FOR UPDATE
"""
_FORGET_CONFIG = """
SELECT format('DELETE FROM %I.tenant_config WHERE tenant_id = $1', bf_control.setting_of('shared_schema'))
"""
# Its keys end with it: the next tenant of that id is another's.
_FORGET_TENANT = """
WITH ended AS (UPDATE bf_control.api_key SET revoked_at = now() WHERE tenant_id = $1 AND revoked_at IS NULL)
DELETE FROM bf_control.tenant WHERE tenant_id = $1
"""
_LOCK_REGISTRY = "LOCK TABLE bf_control.tenant IN ACCESS EXCLUSIVE MODE"
_ANY_TENANT = "SELECT EXISTS (SELECT FROM bf_control.tenant)"
_DROP_ROLE = "SELECT format('DROP ROLE %I', $1::text)"

# What PostgreSQL says to a DROP that something else stands against.
Refused = asyncpg.PostgresError


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    layer: str
    version: int
    name: str
    checksum: str
    applied_at: datetime


@contextmanager
def warnings(conn: Connection) -> Iterator[list[str]]:
    """What PostgreSQL warns of while the block runs, with its hints."""
    heard: list[str] = []

    def hear(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.severity_en == "WARNING":
            heard.append(
                ". ".join(part.rstrip(".") for part in (message.message, message.detail, message.hint) if part)
            )

    conn.add_log_listener(hear)
    try:
        yield heard
    finally:
        conn.remove_log_listener(hear)


async def installed(conn: Connection) -> bool:
    """Whether there is a ledger at all."""
    return bool(await conn.fetchval(_INSTALLED))


async def ledger(conn: Connection) -> list[Applied]:
    return [Applied(**dict(row)) for row in await conn.fetch(_LEDGER)]


async def check_release(conn: Connection, wanted: dict[str, str]) -> None:
    """Raises asyncpg's 55000, naming the difference, where the database was made with other settings."""
    await conn.execute(_CHECK_RELEASE, wanted)


async def spread(conn: Connection) -> dict[int, int]:
    """Number of tenants by schema version."""
    return {row["schema_version"]: row["tenants"] for row in await conn.fetch(_SPREAD)}


async def outdated(conn: Connection, *, after: str, limit: int) -> list[str]:
    """Ids of tenants below the latest version, in order, beyond `after`."""
    return [row["tenant_id"] for row in await conn.fetch(_OUTDATED, after, limit)]


async def latest_tenant_version(conn: Connection) -> int | None:
    """None until the shared schema is installed."""
    version: int | None = await conn.fetchval(_LATEST)
    return version


async def accepting(conn: Connection) -> tuple[int | None, UUID | None]:
    """The latest tenant version, and the unfinished downgrade if there is one."""
    row: Any = await conn.fetchrow(_ACCEPTING)
    return row["latest"], row["downgrade"]


def server_version(conn: Connection) -> str:
    """As `major.minor`, from what the server said when the connection was made."""
    version = conn.get_server_version()
    return f"{version.major}.{version.micro}"


async def blueprint_tenant_id(conn: Connection) -> str:
    """A reserved id that no other session builds with at the same time."""
    return str(await conn.fetchval(_BLUEPRINT_ID))


async def loaded_statements(conn: Connection, version: int) -> list[tuple[str, str]]:
    """(section, statement) of a tenant migration, as setup_tenant() reads them."""
    return [(row["section"], row["statement"]) for row in await conn.fetch(_LOADED, version)]


async def build_blueprint(
    conn: Connection, *, tenant_id: str, schema_name: str, statements: Sequence[tuple[str, str]]
) -> None:
    """Creates the schema and runs the statements in it, one by one."""
    await conn.execute(_ENSURE_TENANT_ROLE, tenant_id)
    rls = await conn.fetchval(_RLS_ENABLED)
    wanted = [statement for section, statement in statements if rls or section != "rls"]
    await conn.execute(await conn.fetchval(_CREATE_SCHEMA, schema_name))
    rendered = await conn.fetch(_RENDERED, wanted, schema_name, tenant_id)
    await conn.execute(await conn.fetchval(_SET_PATH, schema_name))
    for row in rendered:
        await conn.execute(row[0])


async def for_tenant(conn: Connection, written: Statements, *, names: tuple[str, str, str, str]) -> Statements:
    """With the blueprint's schema and id in `names`, each followed by the tenant's, replaced."""
    texts = [written.make, written.finish, written.unmake, *written.aside]
    make, finish, unmake, *aside = await conn.fetchval(_FOR_TENANT, texts, *names)
    return Statements(ordinal=written.ordinal, make=make, finish=finish, unmake=unmake, aside=tuple(aside))


async def as_of_one_moment(conn: Connection) -> None:
    """What the transaction reads from here on; it must not have read anything. It writes nothing."""
    await conn.execute(_ONE_MOMENT)


async def admitted(conn: Connection, tenant_id: str) -> list[str]:
    """The roles that lose their way into the tenant's schema while the tenant is closed: the application's, and the
    tenant's own where there is one.
    """
    return [row["role_name"] for row in await conn.fetch(_ADMITTED, tenant_id)]


async def tenant_roles(conn: Connection) -> bool:
    """Whether each tenant has a role of its own in this database."""
    return bool(await conn.fetchval(_TENANT_ROLES))


async def use_tenant_roles(conn: Connection, *, wanted: bool) -> None:
    """From now on; tenants that are there are brought along one by one."""
    await conn.execute(_USE_TENANT_ROLES, wanted)


async def other_roles(conn: Connection, *, wanted: bool, after: str, limit: int) -> list[str]:
    """Ids of tenants without a role that are to have one, or the other way round, in order, beyond `after`."""
    return [row["tenant_id"] for row in await conn.fetch(_OTHER_ROLES, wanted, after, limit)]


async def keep_tenant_role(conn: Connection, tenant_id: str) -> None:
    """Gives the tenant its role, or takes it, as the database's setting says."""
    await conn.execute(_KEEP_TENANT_ROLE, tenant_id)


async def closed(conn: Connection, tenant_id: str) -> bool:
    """Whether the tenant's state keeps the application role out of its schema."""
    return bool(await conn.fetchval(_CLOSED, tenant_id))


async def upgrade_tenant(conn: Connection, tenant_id: str) -> tuple[str, int]:
    """Runs upgrade_tenant(); returns the tenant's schema and the version it has now."""
    await conn.fetchval(await conn.fetchval(_CALL_UPGRADE_TENANT), tenant_id)
    row: Any = await conn.fetchrow(_TENANT_SCHEMA, tenant_id)
    return row["schema_name"], row["schema_version"]


async def missing_privileges(conn: Connection, *, create_roles: bool) -> list[str]:
    """The statements that give the connected role what it lacks, to be run by a superuser."""
    return [row["statement"] for row in await conn.fetch(_MISSING_PRIVILEGES, create_roles)]


async def lock_tenant(conn: Connection, tenant_id: str) -> tuple[str, str, bool] | None:
    """Schema name, when it was created, whether it was built; None where the tenant has gone."""
    row = await conn.fetchrow(_LOCK_TENANT, tenant_id)
    return None if row is None else (row["schema_name"], row["created_at"], row["built"])


async def forget_tenant(conn: Connection, tenant_id: str, *, built: bool) -> None:
    """Takes the tenant off the registry; one that was never built has no configuration."""
    if built:
        await conn.execute(await conn.fetchval(_FORGET_CONFIG), tenant_id)
    await conn.execute(_FORGET_TENANT, tenant_id)


async def lock_registry(conn: Connection) -> bool:
    """Keeps new tenants out until the transaction ends; returns whether there are any."""
    await conn.execute(_LOCK_REGISTRY)
    return bool(await conn.fetchval(_ANY_TENANT))


async def execute(conn: Connection, statement: str) -> None:
    """One of those that script renders."""
    await conn.execute(statement)


async def drop_role(conn: Connection, role_name: str) -> None:
    """Raises Refused."""
    await conn.execute(await conn.fetchval(_DROP_ROLE, role_name))
