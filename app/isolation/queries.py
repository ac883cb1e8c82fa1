"""SQL of the isolation check: who may get around row-level security, and where it is not what it must be."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from app.db.pool import Connection
from app.isolation.model import Fault, Kind, Report

# Who acts as the application or audit role: the two, and their members, but the owner, whom FORCE holds.
# Where tenants have roles, who acts as one of those too: all are members of one role.
# pg_auth_members as JSON, since its options exist from PostgreSQL 16 on only: a membership with neither lets
# nobody do anything, unless it may be passed on, and only its grantor takes it back. What is owned is found through
# pg_shdepend: however many tenants there are, a role that should own nothing is quickly looked up.
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
            OR coalesce((to_jsonb(m) ->> 'set_option')::boolean, true) OR m.admin_option)
), holder AS (
    SELECT r.oid, r.rolname <> $2 AS application
      FROM pg_roles r JOIN pg_database b ON b.datname = current_database()
     WHERE r.rolname IN ($1, $2, 'bf_tenants_' || b.oid)
    UNION
    SELECT e.member, h.application FROM holder h JOIN edge e ON e.roleid = h.oid
), acting AS (
    SELECT h.oid, r.rolname, r.rolsuper, r.rolbypassrls, r.rolcreaterole, bool_or(h.application) AS application
      FROM holder h JOIN pg_roles r ON r.oid = h.oid, owner WHERE h.oid <> owner.oid GROUP BY 1, 2, 3, 4, 5
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
SELECT format('%I has CREATEROLE, and could grant itself the owner', a.rolname),
       format('ALTER ROLE %I NOCREATEROLE;', a.rolname)
  FROM acting a
 WHERE a.rolcreaterole AND NOT a.rolsuper AND current_setting('server_version_num')::integer < 160000
UNION ALL
SELECT format('%I reaches the server''s files or programs as %I', a.rolname, p.rolname),
       format('REVOKE %I FROM %I;', p.rolname, a.rolname)
  FROM acting a
  JOIN pg_roles p ON p.rolname IN ('pg_execute_server_program', 'pg_read_server_files', 'pg_write_server_files')
 WHERE NOT a.rolsuper AND pg_has_role(a.oid, p.oid, 'MEMBER')
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
UNION ALL
SELECT format('%I owns %s', a.rolname, pg_describe_object(d.classid, d.objid, 0)),
       format('REASSIGN OWNED BY %I TO %I;', a.rolname, pg_get_userbyid(owner.oid))
  FROM acting a
  JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = a.oid AND d.deptype = 'o'
  JOIN pg_database b ON b.oid = d.dbid AND b.datname = current_database()
  JOIN owner ON true
  LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid AND c.relkind IN ('r', 'p')
  LEFT JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspowner = owner.oid
 WHERE a.rolname = $1 AND n.oid IS NULL
"""
_SHARED_RLS = """
SELECT c.relrowsecurity AS enabled,
       format('ALTER TABLE %I.tenant_config ENABLE ROW LEVEL SECURITY;', n.nspname) AS mend
  FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = 'tenant_config'
 WHERE n.nspname = $1
"""
_OPEN_SHARED = """
SELECT format('%I.%I has no row-level security', n.nspname, c.relname) AS reason,
       format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY;', n.nspname, c.relname) AS mend
  FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname IN ('tenant_config', 'budget_templates')
 WHERE n.nspname = $1 AND NOT c.relrowsecurity
UNION ALL
SELECT format('policy %I on %I.%I lets more through', p.polname, n.nspname, c.relname),
       format('DROP POLICY %I ON %I.%I;', p.polname, n.nspname, c.relname)
  FROM pg_namespace n JOIN pg_class c ON c.relnamespace = n.oid AND c.relname IN ('tenant_config', 'budget_templates')
  JOIN pg_policy p ON p.polrelid = c.oid AND p.polpermissive
 WHERE n.nspname = $1
   AND p.polname <> ALL (ARRAY['tenant_isolation_tenant_config', 'audit_access_tenant_config',
                               'tenant_role_tenant_config', 'tenant_read_budget_templates',
                               'tenant_insert_budget_templates', 'tenant_update_budget_templates',
                               'tenant_delete_budget_templates', 'audit_access_budget_templates',
                               'tenant_role_read_budget_templates', 'tenant_role_write_budget_templates'])
"""
# Right after its tenants were made a catalogue's statistics are old: the indexes are there, and this uses them.
_PREPARE = """
SELECT set_config('search_path', 'pg_catalog', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('jit', 'off', true)
"""
_SLICE = """
SELECT tenant_id FROM bf_control.tenant WHERE schema_version IS NOT NULL AND tenant_id > $1 ORDER BY tenant_id LIMIT $2
"""
# $1 tenants, $2 application role, $3 audit role, $4 the shared schema, $5 whether there is row-level security here.
# What is in a schema is found through pg_depend: nothing reads every tenant's share of pg_class. Somebody else's table
# in a tenant's schema is somebody else's, as long as no application reaches it.
_OPEN_TENANTS = r"""
WITH slice AS MATERIALIZED (
    SELECT t.tenant_id, t.schema_name, n.oid, n.nspacl, n.nspowner
      FROM unnest($1::text[]) AS w(tenant_id)
      JOIN bf_control.tenant t ON t.tenant_id = w.tenant_id
      JOIN pg_namespace n ON n.nspname = t.schema_name
), who AS MATERIALIZED (
    SELECT a.oid AS app, u.oid AS audit, bf_control.has_tenant_roles() AS tenant_roles, n.nspowner AS owner
      FROM pg_roles a, pg_roles u, pg_namespace n
     WHERE a.rolname = $2 AND u.rolname = $3 AND n.nspname = 'bf_control'
), relation AS MATERIALIZED (
    SELECT s.tenant_id, s.schema_name, c.oid, c.relname, c.relkind, c.relowner, c.relrowsecurity, c.relforcerowsecurity,
           format('%I.%I', s.schema_name, c.relname) AS name,
           coalesce(c.reloptions::text[] && ARRAY['security_invoker=true', 'security_invoker=on', 'security_invoker=1'],
                    false) AS invoker,
           has_table_privilege(who.app, c.oid, 'SELECT, INSERT, UPDATE, DELETE')
           OR has_any_column_privilege(who.app, c.oid, 'SELECT, INSERT, UPDATE') AS reached
      FROM slice s
      JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = s.oid
                      AND d.classid = 'pg_class'::regclass
      JOIN pg_class c ON c.oid = d.objid, who
     WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
), held AS (
    SELECT r.*, p.isolating, p.others
      FROM relation r, who
     CROSS JOIN LATERAL (
         SELECT coalesce(bool_or(p.polname = 'tenant_isolation_' || r.relname AND p.polpermissive AND p.polcmd = '*'
                                 AND who.app = ANY (p.polroles) AND pg_get_expr(p.polqual, p.polrelid) = $6
                                 AND pg_get_expr(p.polwithcheck, p.polrelid) = $6), false) AS isolating,
                array_agg(p.polname) FILTER (
                    WHERE p.polpermissive AND p.polname <> 'tenant_isolation_' || r.relname
                      AND NOT (p.polname = 'audit_access_' || r.relname AND p.polcmd = 'r'
                               AND p.polroles = ARRAY[who.audit])) AS others
           FROM pg_policy p WHERE p.polrelid = r.oid) p
     WHERE r.relkind IN ('r', 'p') AND (r.reached OR r.relowner = who.owner)
)
SELECT 'table' AS kind, h.tenant_id, format('%s has no row-level security', h.name) AS reason,
       format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY;', h.name) AS mend
  FROM held h WHERE $5::boolean AND NOT h.relrowsecurity
UNION ALL
SELECT 'table', h.tenant_id, format('%s does not force row-level security on its owner', h.name),
       format('ALTER TABLE %s FORCE ROW LEVEL SECURITY;', h.name)
  FROM held h WHERE $5::boolean AND NOT h.relforcerowsecurity
UNION ALL
SELECT 'policy', h.tenant_id, format('%s has no policy that holds an application to its tenant', h.name),
       format('SELECT %I.create_tenant_rls_policies(%L);', $4::text, h.tenant_id)
  FROM held h WHERE $5::boolean AND NOT h.isolating
UNION ALL
SELECT 'policy', h.tenant_id, format('policy %I on %s lets more through', o.name, h.name),
       format('DROP POLICY %I ON %s;', o.name, h.name)
  FROM held h CROSS JOIN LATERAL unnest(h.others) AS o(name) WHERE $5::boolean
UNION ALL
SELECT 'grant', h.tenant_id, format('%I may TRUNCATE, or hang something on, %s', $2::text, h.name),
       format('REVOKE TRUNCATE, REFERENCES, TRIGGER ON %s FROM PUBLIC, %I;', h.name, $2::text)
  FROM held h, who WHERE has_table_privilege(who.app, h.oid, 'TRUNCATE, REFERENCES, TRIGGER')
UNION ALL
SELECT 'grant', r.tenant_id, format('%s is no table: row-level security does not hold who reads it', r.name),
       format('REVOKE ALL ON %s FROM PUBLIC, %I;', r.name, $2::text)
  FROM relation r WHERE r.relkind IN ('v', 'm', 'f') AND r.reached AND NOT r.invoker
UNION ALL
SELECT 'grant', s.tenant_id, format('schema %I is open to %s', s.schema_name, g.name),
       format('REVOKE ALL ON SCHEMA %I FROM %s;', s.schema_name, g.name)
  FROM slice s
 CROSS JOIN LATERAL (
     SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS name
       FROM aclexplode(s.nspacl) a
      WHERE a.grantee = 0 OR (pg_get_userbyid(a.grantee) ~ '^bf_tenants?_'
                              AND pg_get_userbyid(a.grantee) <> bf_control.tenant_role(s.tenant_id))) g
UNION ALL
SELECT 'grant', s.tenant_id, format('%I may make tables and functions in schema %I', $2::text, s.schema_name),
       format('REVOKE CREATE ON SCHEMA %I FROM PUBLIC, %I;', s.schema_name, $2::text)
  FROM slice s, who WHERE has_schema_privilege(who.app, s.oid, 'CREATE')
UNION ALL
SELECT 'tenant_role', s.tenant_id, format('tenant %s has no role of its own', s.tenant_id),
       format('SELECT bf_control.keep_tenant_role(%L);', s.tenant_id)
  FROM slice s, who WHERE who.tenant_roles AND to_regrole(bf_control.tenant_role(s.tenant_id)) IS NULL
"""
# As PostgreSQL prints what 0001_business_tables.sql says.
_HELD: Final = "((tenant_id)::text = current_setting('app.current_tenant'::text, true))"
# Of this database, and of those that are no more: nobody drops a role with its database.
_ORPHANS = r"""
SELECT format('role %I is of no tenant', r.rolname) AS reason, format('DROP ROLE %I;', r.rolname) AS mend
  FROM pg_roles r
  JOIN pg_database here ON here.datname = current_database()
  LEFT JOIN pg_database d ON d.oid::text = substring(r.rolname from '_([0-9]+)$')
 WHERE r.rolname ~ '^bf_tenant_[a-z][a-z0-9_]*_[0-9]+$'
   AND coalesce(shobj_description(r.oid, 'pg_authid'), '') LIKE 'APG Budgeting & Forecasting: tenant %'
   AND CASE WHEN d.oid = here.oid THEN NOT EXISTS (
                SELECT FROM bf_control.tenant t
                 WHERE t.tenant_id = substring(r.rolname from '^bf_tenant_(.*)_[0-9]+$')
                   AND t.schema_version IS NOT NULL)
            ELSE d.oid IS NULL END
 ORDER BY r.rolname
"""
_LAST = """
SELECT checked_at, duration_ms, tenants, fault_count, faults FROM bf_control.isolation_check
"""
_FRESH = "SELECT coalesce(checked_at > now() - $1::interval, false) FROM bf_control.isolation_check"
# Whoever began and died is not waited for longer than that.
_CLAIM = """
UPDATE bf_control.isolation_check SET claimed_at = now()
 WHERE coalesce(checked_at, '-infinity') < now() - $1::interval
   AND coalesce(claimed_at, '-infinity') < now() - least($1::interval, interval '10 minutes')
RETURNING true
"""
_RECORD = """
UPDATE bf_control.isolation_check
   SET checked_at = now(), duration_ms = $1, tenants = $2, fault_count = $3, faults = $4
RETURNING checked_at, duration_ms, tenants, fault_count, faults
"""


async def bypass(conn: Connection, *, app_role: str, audit_role: str) -> list[tuple[str, str]]:
    """(what lets whom around row-level security, what ends it)."""
    return [(row["way"], row["mend"]) for row in await conn.fetch(_BYPASS, app_role, audit_role)]


async def shared_rls(conn: Connection, shared_schema: str) -> Any:
    """None until the shared schema is installed."""
    return await conn.fetchrow(_SHARED_RLS, shared_schema)


async def open_shared(conn: Connection, shared_schema: str) -> list[Fault]:
    """Tables of the shared schema that show every tenant's rows."""
    rows = await conn.fetch(_OPEN_SHARED, shared_schema)
    return [Fault(kind=Kind.TABLE, tenant_id=None, reason=row["reason"], mend=row["mend"]) for row in rows]


async def orphans(conn: Connection) -> list[Fault]:
    """Roles of tenants that are no more."""
    rows = await conn.fetch(_ORPHANS)
    return [Fault(kind=Kind.TENANT_ROLE, tenant_id=None, reason=row["reason"], mend=row["mend"]) for row in rows]


async def slice_after(conn: Connection, after: str, *, limit: int) -> list[str]:
    """Ids of tenants with a schema, in order, beyond `after`."""
    return [row["tenant_id"] for row in await conn.fetch(_SLICE, after, limit)]


async def open_tenants(
    conn: Connection, tenant_ids: Sequence[str], *, app_role: str, audit_role: str, shared_schema: str, rls: bool
) -> list[Fault]:
    """What is wrong with the tables of these tenants. Leaves planner settings changed until the transaction ends."""
    await conn.execute(_PREPARE)
    rows = await conn.fetch(_OPEN_TENANTS, tenant_ids, app_role, audit_role, shared_schema, rls, _HELD)
    return [Fault(**{**dict(row), "kind": Kind(row["kind"])}) for row in rows]


async def last(conn: Connection) -> Report:
    """What the last check found."""
    return _report(await conn.fetchrow(_LAST))


async def fresh(conn: Connection, within: timedelta) -> bool:
    """Whether the last check ended within that time, by the database's clock."""
    return bool(await conn.fetchval(_FRESH, within))


async def claim(conn: Connection, every: timedelta) -> bool:
    """Whether a check is due, and ours to make."""
    return bool(await conn.fetchval(_CLAIM, every))


async def record(
    conn: Connection, *, duration_ms: int, tenants: int, fault_count: int, faults: Sequence[Fault]
) -> Report:
    documents = [
        {"kind": fault.kind, "tenant_id": fault.tenant_id, "reason": fault.reason, "mend": fault.mend}
        for fault in faults
    ]
    return _report(await conn.fetchrow(_RECORD, duration_ms, tenants, fault_count, documents))


def _report(row: Any) -> Report:
    if row is None:  # somebody has emptied the table
        return Report(checked_at=None, duration_ms=0, tenants=0, fault_count=0, faults=())
    return Report(
        checked_at=row["checked_at"],
        duration_ms=row["duration_ms"] or 0,
        tenants=row["tenants"],
        fault_count=row["fault_count"],
        faults=tuple(Fault(**{**fault, "kind": Kind(fault["kind"])}) for fault in row["faults"]),
    )
