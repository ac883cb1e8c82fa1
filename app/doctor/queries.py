"""What doctor asks a server. Every statement that mends something is quoted by the server itself."""

from dataclasses import dataclass
from typing import Any

from app.db.pool import Connection

_BACKEND = "SELECT pg_backend_pid()"
_WHERE = """
SELECT current_database()::text AS database, (pg_postmaster_start_time() AT TIME ZONE 'UTC')::text AS started,
       host(inet_server_addr()) AS host, coalesce(inet_server_port(), current_setting('port')::integer) AS port
"""
_TLS = """
SELECT ssl, coalesce(version, '') AS version, current_setting('ssl_library') <> '' AS possible
  FROM pg_stat_ssl WHERE pid = pg_backend_pid()
"""
_SERVER = """
SELECT current_setting('server_version_num')::integer AS number, current_setting('server_version') AS version
"""
_CREATE_ON_DATABASE = """
SELECT has_database_privilege(current_database(), 'CREATE') AS held,
       format('GRANT CREATE ON DATABASE %I TO %I;', current_database(), current_user) AS mend
"""
_CREATE_ON_PUBLIC = """
SELECT coalesce(has_schema_privilege(to_regnamespace('public'), 'CREATE'), false) AS held,
       format('GRANT CREATE ON SCHEMA public TO %I;', current_user) AS mend
"""
_CREATEROLE = """
SELECT r.rolcreaterole OR r.rolsuper AS held, format('ALTER ROLE %I CREATEROLE;', current_user) AS mend,
       ARRAY(SELECT w.name FROM unnest($1::text[]) AS w(name)
              WHERE to_regrole(quote_ident(w.name)) IS NULL) AS missing,
       ARRAY(SELECT format('CREATE ROLE %I NOLOGIN;', w.name) FROM unnest($1::text[]) AS w(name)
              WHERE to_regrole(quote_ident(w.name)) IS NULL) AS creating
  FROM pg_roles r WHERE r.rolname = current_user
"""
# From PostgreSQL 16 on CREATEROLE grants only what its holder may administer, and membership alone sets no role.
_AUDIT_ROLE = """
WITH server AS (
    SELECT current_setting('server_version_num')::integer >= 160000 AS strict
)
SELECT pg_has_role(a.oid, CASE WHEN s.strict THEN 'SET' ELSE 'MEMBER' END) AS member,
       me.rolsuper OR (me.rolcreaterole AND NOT s.strict)
       OR pg_has_role(a.oid, 'MEMBER WITH ADMIN OPTION') AS grantable,
       format('GRANT %I TO %I;', a.rolname, me.rolname) AS mend
  FROM server s, pg_roles a, pg_roles me WHERE a.rolname = $1 AND me.rolname = current_user
"""
_UUID_OSSP = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'uuid-ossp')"
# Who may not see shared_preload_libraries (pg_read_all_settings may) still sees what a loaded library defines.
_STATEMENTS = """
WITH seen AS (
    SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS available,
           EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_stat_statements') AS created,
           EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max') AS loaded,
           (SELECT setting FROM pg_settings WHERE name = 'shared_preload_libraries') AS libraries
)
SELECT available, created, loaded, libraries IS NOT NULL AS complete,
       (SELECT format('ALTER SYSTEM SET shared_preload_libraries = %s;', string_agg(quote_literal(l.name), ', '))
          FROM (SELECT trim(both ' "' FROM name) FROM regexp_split_to_table(coalesce(libraries, ''), ',') AS name
                 WHERE trim(name) <> '' UNION ALL SELECT 'pg_stat_statements') AS l(name)) AS preload
  FROM seen
"""
_MONITOR = """
SELECT pg_has_role('pg_monitor', 'USAGE') AS held, format('GRANT pg_monitor TO %I;', current_user) AS mend
"""
_LOCKS = """
WITH here AS (
    SELECT current_setting('max_locks_per_transaction')::integer AS each,
           current_setting('max_connections')::integer + current_setting('max_prepared_transactions')::integer AS times
)
SELECT each, times, each::bigint * times AS slots,
       format('ALTER SYSTEM SET max_locks_per_transaction = %s;', ceil($1 / times::numeric)) AS mend
  FROM here
"""
_LIMITS = """
WITH here AS (
    SELECT current_setting('max_connections')::integer AS most,
           current_setting('superuser_reserved_connections')::integer
           + coalesce(current_setting('reserved_connections', true), '0')::integer AS reserved
)
SELECT 'the server' AS whose, most - reserved AS connections,
       format('ALTER SYSTEM SET max_connections = %s;', $1 + reserved) AS mend FROM here
UNION ALL
SELECT format('role %I', rolname), rolconnlimit, format('ALTER ROLE %I CONNECTION LIMIT -1;', rolname)
  FROM pg_roles WHERE rolname = current_user AND rolconnlimit >= 0
UNION ALL
SELECT format('database %I', datname), datconnlimit, format('ALTER DATABASE %I CONNECTION LIMIT -1;', datname)
  FROM pg_database WHERE datname = current_database() AND datconnlimit >= 0
"""
# The bootstrap superuser (OID 10) stays one.
_CONNECTED_ROLE = """
SELECT current_user::text AS name, rolsuper OR rolbypassrls AS above,
       CASE WHEN oid = 10
            THEN format('CREATE ROLE bf_migrator LOGIN CREATEROLE; GRANT CREATE ON DATABASE %I TO bf_migrator;',
                        current_database())
            ELSE format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS CREATEROLE; GRANT CREATE ON DATABASE %I TO %1$I;',
                        rolname, current_database()) END AS mend
  FROM pg_roles WHERE rolname = current_user
"""
# Whoever may become a superuser is one: such an owner is connected as, not granted.
_OWNER = """
SELECT o.rolname::text AS owner, o.rolname = current_user AS ours, current_user::text AS connected,
       CASE WHEN o.rolsuper THEN ARRAY[]::text[]
            ELSE ARRAY[format('GRANT %I TO %I;', o.rolname, current_user),
                       format('ALTER ROLE %I IN DATABASE %I SET role = %L;', current_user, current_database(),
                              o.rolname)] END AS mend
  FROM pg_namespace n
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'migration'
  JOIN pg_roles o ON o.oid = n.nspowner
 WHERE n.nspname = 'bf_control'
"""
_IN_THE_WAY = """
SELECT nspname::text AS name, format('ALTER SCHEMA %I RENAME TO %I;', nspname, left(nspname || '_before', 63)) AS mend
  FROM pg_namespace WHERE nspname = ANY ($1) ORDER BY nspname
"""
_STORED_SETTINGS = "SELECT name, value FROM bf_control.setting ORDER BY name"
_FAILED_TENANTS = """
SELECT tenant_id, tenant_name FROM bf_control.tenant WHERE state = 'failed' ORDER BY tenant_id LIMIT $1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which server, and which of its databases. `host` is None for a Unix socket."""

    database: str
    started: str
    host: str | None
    port: int


def announced_pid(conn: Connection) -> int:
    """What was said at login to be the backend's process id."""
    return int(conn.get_server_pid())


async def backend_pid(conn: Connection) -> int:
    return int(await conn.fetchval(_BACKEND))


async def place(conn: Connection) -> Place:
    return Place(**dict(await _row(conn, _WHERE)))


async def tls(conn: Connection) -> Any:
    """None where the session has taken another role, which may not see what the login may."""
    return await conn.fetchrow(_TLS)


async def server(conn: Connection) -> Any:
    return await _row(conn, _SERVER)


async def create_on_database(conn: Connection) -> Any:
    return await _row(conn, _CREATE_ON_DATABASE)


async def create_on_public(conn: Connection) -> Any:
    return await _row(conn, _CREATE_ON_PUBLIC)


async def createrole(conn: Connection, wanted: list[str]) -> Any:
    return await _row(conn, _CREATEROLE, wanted)


async def audit_role(conn: Connection, name: str) -> Any:
    """None where there is no such role."""
    return await conn.fetchrow(_AUDIT_ROLE, name)


async def has_uuid_ossp(conn: Connection) -> bool:
    return bool(await conn.fetchval(_UUID_OSSP))


async def statements(conn: Connection) -> Any:
    return await _row(conn, _STATEMENTS)


async def monitor(conn: Connection) -> Any:
    return await _row(conn, _MONITOR)


async def locks(conn: Connection, wanted: int) -> Any:
    return await _row(conn, _LOCKS, wanted)


async def limits(conn: Connection, wanted: int) -> list[Any]:
    return list(await conn.fetch(_LIMITS, wanted))


async def connected_role(conn: Connection) -> Any:
    return await _row(conn, _CONNECTED_ROLE)


async def owner(conn: Connection) -> Any:
    """None until the service's schema is installed."""
    return await conn.fetchrow(_OWNER)


async def in_the_way(conn: Connection, names: list[str]) -> list[tuple[str, str]]:
    """Those schemas of the names that exist, each with what moves it away."""
    return [(row["name"], row["mend"]) for row in await conn.fetch(_IN_THE_WAY, names)]


async def stored_settings(conn: Connection) -> dict[str, str]:
    return {row["name"]: row["value"] for row in await conn.fetch(_STORED_SETTINGS)}


async def failed_tenants(conn: Connection, *, limit: int) -> list[tuple[str, str]]:
    """(id, name), in order."""
    return [(row["tenant_id"], row["tenant_name"]) for row in await conn.fetch(_FAILED_TENANTS, limit)]


async def _row(conn: Connection, statement: str, *arguments: object) -> Any:
    """Of a statement that always has one."""
    return await conn.fetchrow(statement, *arguments)
