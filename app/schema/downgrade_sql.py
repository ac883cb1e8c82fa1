"""What a downgrade asks the catalogue, for the command line and for Alembic alike.

Imports nothing, for the reason that script.py imports nothing but the standard library; its placeholders
are filled in by script.fill_downgrade(). Nothing here takes a parameter, so that every driver runs it.
"""

from typing import Final

DATABASE: Final = "SELECT current_database()::text"

# Only after LEDGER_EXISTS: the registry is there from the ledger's first migration on.
TENANTS: Final = "SELECT tenant_id::text FROM bf_control.tenant ORDER BY tenant_id"

# What a tenant has on disk; rows as VACUUM and ANALYZE last saw them.
# Found through pg_depend: pg_class has no index that leads with relnamespace.
SIZES: Final = """
SELECT t.tenant_id::text AS tenant_id, t.schema_name::text AS schema_name,
       coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint AS bytes,
       count(c.oid) AS tables, coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint AS rows,
       t.created_at::text AS created_at, t.schema_version IS NOT NULL AS built
  FROM bf_control.tenant t
  LEFT JOIN pg_namespace n ON n.nspname = t.schema_name AND t.schema_version IS NOT NULL
  LEFT JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
                       AND d.classid = 'pg_class'::regclass AND d.deptype = 'n'
  LEFT JOIN pg_class c ON c.oid = d.objid AND c.relkind IN ('r', 'm')
 GROUP BY t.tenant_id
 ORDER BY t.tenant_id
"""

# The same in one pass over pg_class, from what VACUUM and ANALYZE last saw; without TOAST.
SIZES_ESTIMATED: Final = """
SELECT t.tenant_id::text AS tenant_id, t.schema_name::text AS schema_name, coalesce(s.bytes, 0)::bigint AS bytes,
       coalesce(s.tables, 0) AS tables, coalesce(s.rows, 0)::bigint AS rows,
       t.created_at::text AS created_at, t.schema_version IS NOT NULL AS built
  FROM bf_control.tenant t
  LEFT JOIN pg_namespace n ON n.nspname = t.schema_name AND t.schema_version IS NOT NULL
  LEFT JOIN (SELECT c.relnamespace, sum(c.relpages::bigint) * current_setting('block_size')::bigint AS bytes,
                    count(*) FILTER (WHERE c.relkind IN ('r', 'm')) AS tables,
                    sum(greatest(c.reltuples, 0)) FILTER (WHERE c.relkind IN ('r', 'm')) AS rows
               FROM pg_class c GROUP BY c.relnamespace) s ON s.relnamespace = n.oid
 ORDER BY t.tenant_id
"""

# What is going to stop the downgrade: things in our schemas that no file of ours makes (`inside`), and
# things elsewhere that depend on ours (`outside`: views, foreign keys, functions over row types, …).
# tenant_id is NULL for bf_shared, bf_control and bf_queue. Indexes, triggers and policies that somebody
# added to our tables are no obstacle: they go with the table, as they do in PostgreSQL.
BLOCKERS: Final = """
WITH ours AS MATERIALIZED (
    SELECT n.oid, n.nspname::text AS schema_name, t.tenant_id::text AS tenant_id
      FROM pg_namespace n
      LEFT JOIN bf_control.tenant t ON t.schema_name = n.nspname AND t.schema_version IS NOT NULL
     WHERE t.tenant_id IS NOT NULL OR n.nspname IN ('bf_control', 'bf_queue')
        OR (n.nspname = {{shared|literal}} AND EXISTS (SELECT FROM bf_control.migration WHERE layer = 'shared'))
), own AS (
    SELECT s.key AS schema_name, n.name
      FROM jsonb_each({{own|literal}}::jsonb) AS s(key, names)
     CROSS JOIN LATERAL jsonb_array_elements_text(s.names) AS n(name)
), member AS MATERIALIZED (
    SELECT o.oid AS namespace, o.schema_name, o.tenant_id, d.classid, d.objid, c.reltype, c.relkind,
           EXISTS (SELECT FROM own w
                    WHERE w.schema_name = CASE WHEN o.tenant_id IS NULL THEN o.schema_name ELSE '' END
                      AND w.name = coalesce(c.relname, p.proname, t.typname)) AS expected
      FROM ours o
      JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = o.oid AND d.deptype = 'n'
      LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
      LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
      LEFT JOIN pg_type t ON d.classid = 'pg_type'::regclass AND t.oid = d.objid
), referenced AS MATERIALIZED (
    SELECT m.classid, m.objid, m.classid AS ofclass, m.objid AS ofobj, m.namespace, m.schema_name, m.tenant_id
      FROM member m WHERE m.expected
    UNION ALL
    SELECT 'pg_type'::regclass, t.oid, m.classid, m.objid, m.namespace, m.schema_name, m.tenant_id
      FROM member m JOIN pg_type row ON row.oid = m.reltype JOIN pg_type t ON t.oid IN (row.oid, row.typarray)
     WHERE m.expected
), dependent AS (
    SELECT DISTINCT r.ofclass, r.ofobj, r.namespace, r.schema_name, r.tenant_id,
           CASE WHEN relation.oid IS NULL THEN d.classid ELSE 'pg_class'::regclass END AS classid,
           coalesce(relation.oid, d.objid) AS objid,
           coalesce(relation.relnamespace, p.pronamespace, t.typnamespace) AS home
      FROM referenced r
      JOIN pg_depend d ON d.refclassid = r.classid AND d.refobjid = r.objid AND d.deptype = 'n'
      LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
      LEFT JOIN pg_constraint k ON d.classid = 'pg_constraint'::regclass AND k.oid = d.objid
      LEFT JOIN pg_attrdef a ON d.classid = 'pg_attrdef'::regclass AND a.oid = d.objid
      LEFT JOIN pg_trigger g ON d.classid = 'pg_trigger'::regclass AND g.oid = d.objid
      LEFT JOIN pg_policy y ON d.classid = 'pg_policy'::regclass AND y.oid = d.objid
      LEFT JOIN pg_class relation ON relation.oid = coalesce(
                w.ev_class, nullif(k.conrelid, 0), a.adrelid, g.tgrelid, y.polrelid,
                CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid END)
      LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
      LEFT JOIN pg_type t ON t.oid = coalesce(nullif(k.contypid, 0),
                CASE WHEN d.classid = 'pg_type'::regclass THEN d.objid END)
)
SELECT m.tenant_id, m.schema_name, 'inside' AS place,
       format('%s is in schema %I', pg_describe_object(m.classid, m.objid, 0), m.schema_name) AS blocker
  FROM member m
 WHERE NOT m.expected
   -- An identity's or a serial's sequence goes with its table.
   AND NOT EXISTS (SELECT FROM pg_depend d JOIN member owner ON owner.expected
                                            AND owner.classid = d.refclassid AND owner.objid = d.refobjid
                    WHERE m.relkind = 'S' AND d.classid = m.classid AND d.objid = m.objid
                      AND d.deptype IN ('a', 'i'))
UNION
SELECT d.tenant_id, d.schema_name, 'outside',
       format('%s depends on %s', pg_describe_object(d.classid, d.objid, 0),
              pg_describe_object(d.ofclass, d.ofobj, 0))
  FROM dependent d
 WHERE d.home IS DISTINCT FROM d.namespace
   -- Ours refer to one another across schemas, but never to a tenant's.
   AND (d.tenant_id IS NOT NULL OR d.home IS NULL OR NOT EXISTS (SELECT FROM ours o WHERE o.oid = d.home))
 ORDER BY 1, 2, 4
"""

# Which of our roles may go, the one that tenants' roles are members of too: `reason` is NULL for that, else what
# speaks against it. To be asked in the transaction that dropped the rest, where what used to depend on them has
# gone. A reason is given for whatever DROP ROLE would refuse, and for what it would take away without a word:
# memberships.
ROLES: Final = """
SELECT r.rolname::text AS role_name, nullif(concat_ws('; ',
       CASE WHEN coalesce(shobj_description(r.oid, 'pg_authid'), '') NOT LIKE 'APG Budgeting & Forecasting%'
            THEN 'its comment does not say that it was made by an upgrade' END,
       CASE WHEN r.rolcanlogin THEN 'it may log in' END,
       (SELECT 'needed by ' || string_agg(u.label, ', ' ORDER BY u.label)
          FROM (SELECT DISTINCT coalesce('database ' || quote_ident(d.datname),
                                         pg_describe_object(s.classid, s.objid, 0)) AS label
                  FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
                 WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = r.oid
                   AND s.classid <> 'pg_auth_members'::regclass) u
        HAVING count(*) > 0),
       (SELECT 'granted to ' || string_agg(DISTINCT quote_ident(m.rolname), ', ')
          FROM pg_auth_members g JOIN pg_roles m ON m.oid = g.member
         WHERE g.roleid = r.oid AND m.rolname <> current_user
        HAVING count(*) > 0),
       (SELECT 'a member of ' || string_agg(DISTINCT quote_ident(m.rolname), ', ')
          FROM pg_auth_members g JOIN pg_roles m ON m.oid = g.roleid
         WHERE g.member = r.oid
        HAVING count(*) > 0),
       (SELECT CASE WHEN NOT (u.rolsuper OR u.rolcreaterole) THEN 'dropping it needs CREATEROLE'
                    WHEN current_setting('server_version_num')::integer >= 160000
                         AND NOT pg_has_role(current_user, r.oid, 'MEMBER WITH ADMIN OPTION')
                    THEN 'dropping it needs ADMIN OPTION on it' END
          FROM pg_roles u WHERE u.rolname = current_user)
       ), '') AS reason
  FROM pg_roles r
 WHERE r.rolname IN ({{app_role|literal}}, {{audit_role|literal}})
    OR r.rolname = (SELECT 'bf_tenants_' || d.oid FROM pg_database d WHERE d.datname = current_database())
 ORDER BY r.rolname
"""
