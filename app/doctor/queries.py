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
# Who acts as the application or audit role: the two, and their members, but the owner, whom FORCE holds.
# pg_auth_members as JSON, since its options exist from PostgreSQL 16 on only: a membership with neither lets
# nobody do anything, and only its grantor takes it back. Tables are found by their owner, through pg_shdepend:
# however many tenants there are, a role that should own nothing is quickly looked up.
_BYPASS = """
WITH RECURSIVE owner AS (
    SELECT coalesce((SELECT nspowner FROM pg_namespace WHERE nspname = 'bf_control'),
                    (SELECT oid FROM pg_roles WHERE rolname = current_user)) AS oid
), edge AS MATERIALIZED (
    SELECT m.roleid, m.member,
           format('REVOKE %I FROM %I%s;', pg_get_userbyid(m.roleid), pg_get_userbyid(m.member),
                  CASE WHEN to_jsonb(m) ? 'set_option'
                       THEN format(' GRANTED BY %I', pg_get_userbyid(m.grantor)) ELSE '' END) AS revoke
      FROM pg_auth_members m, owner
     WHERE m.member <> owner.oid
       AND (coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, true)
            OR coalesce((to_jsonb(m) ->> 'set_option')::boolean, true))
), holder AS (
    SELECT r.oid, r.rolname = $1 AS application FROM pg_roles r WHERE r.rolname IN ($1, $2)
    UNION
    SELECT e.member, h.application FROM holder h JOIN edge e ON e.roleid = h.oid
), acting AS (
    SELECT h.oid, r.rolname, r.rolsuper, r.rolbypassrls, bool_or(h.application) AS application
      FROM holder h JOIN pg_roles r ON r.oid = h.oid, owner WHERE h.oid <> owner.oid GROUP BY 1, 2, 3, 4
), owning AS (
    SELECT e.member, e.revoke FROM edge e JOIN owner ON e.roleid = owner.oid
    UNION
    SELECT e.member, e.revoke FROM owning o JOIN edge e ON e.roleid = o.member
), auditing AS (
    SELECT e.member, e.revoke FROM edge e JOIN pg_roles a ON a.oid = e.roleid WHERE a.rolname = $2
    UNION
    SELECT e.member, e.revoke FROM auditing u JOIN edge e ON e.roleid = u.member
)
SELECT format('%I is a superuser', a.rolname) AS way,
       CASE WHEN a.oid = 10 THEN (SELECT string_agg(e.revoke, ' ') FROM edge e JOIN holder h ON h.oid = e.roleid
                                   WHERE e.member = a.oid)
            ELSE format('ALTER ROLE %I NOSUPERUSER;', a.rolname) END AS mend
  FROM acting a WHERE a.rolsuper
UNION ALL
SELECT format('%I has BYPASSRLS', a.rolname), format('ALTER ROLE %I NOBYPASSRLS;', a.rolname)
  FROM acting a WHERE a.rolbypassrls
UNION ALL
SELECT format('%I is a member of the owner', a.rolname), string_agg(o.revoke, ' ')
  FROM acting a JOIN owning o ON o.member = a.oid GROUP BY a.rolname
UNION ALL
SELECT format('%I acts as the application and reads every tenant as %I', a.rolname, $2::text),
       string_agg(u.revoke, ' ')
  FROM acting a JOIN auditing u ON u.member = a.oid WHERE a.application GROUP BY a.rolname
UNION ALL
SELECT format('%I owns %I.%I', a.rolname, n.nspname, c.relname),
       format('ALTER TABLE %I.%I OWNER TO %I;', n.nspname, c.relname, pg_get_userbyid(owner.oid))
  FROM acting a
  JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = a.oid AND d.deptype = 'o'
                    AND d.classid = 'pg_class'::regclass
  JOIN pg_database b ON b.oid = d.dbid AND b.datname = current_database()
  JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'p')
  JOIN owner ON true
  JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspowner = owner.oid
"""
_SHARED_RLS = """
SELECT c.relrowsecurity AS enabled,
       format('ALTER TABLE %I.tenant_config ENABLE ROW LEVEL SECURITY;', n.nspname) AS mend
  FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'tenant_config'
 WHERE n.nspname = $1
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


async def bypass(conn: Connection, *, app_role: str, audit_role: str) -> list[tuple[str, str]]:
    """(what lets whom around row-level security, what ends it)."""
    return [(row["way"], row["mend"]) for row in await conn.fetch(_BYPASS, app_role, audit_role)]


async def shared_rls(conn: Connection, shared_schema: str) -> Any:
    """None until the shared schema is installed."""
    return await conn.fetchrow(_SHARED_RLS, shared_schema)


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
