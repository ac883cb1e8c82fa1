"""The one query that says what is in a schema, and by which statements it would be made and unmade."""

from typing import Final

# What follows WITH; `fact` is to be selected from. $1 the schema's name. What is in it is found through
# pg_depend's index on what depends on a schema. With search_path at pg_catalog every other name is printed qualified.
# NOT NULL is read off the columns: only PostgreSQL 18 stores it as a constraint. The order of columns is no fact. A
# default names no column, save a generated column's: told of the relation, pg_get_expr() would first collect the
# names of all its columns, every time. Columns of `fact` that a statement does not select cost it nothing.
FACTS: Final = r"""
schema(oid, nspname, nspowner, nspacl) AS MATERIALIZED (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n WHERE n.nspname = $1
), member(classid, objid) AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = (SELECT oid FROM schema)
), relation AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relpersistence, c.relrowsecurity,
           c.relforcerowsecurity, c.reloptions, c.relreplident, format('%I.%I', $1, c.relname) AS quoted
      FROM member m JOIN pg_class c ON c.oid = m.objid WHERE m.classid = 'pg_class'::regclass
), attribute AS MATERIALIZED (
    SELECT c.relname, c.quoted, c.relkind, a.attrelid, a.attname, a.attnum, a.atttypid, a.atttypmod, a.attnotnull,
           a.atthasdef, a.attidentity, a.attgenerated, a.attcollation, a.attacl,
           CASE WHEN a.atthasdef THEN (
               SELECT pg_get_expr(d.adbin, CASE a.attgenerated WHEN '' THEN 0 ELSE d.adrelid END)
                 FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END AS expression,
           format_type(a.atttypid, a.atttypmod)
               || CASE WHEN a.attcollation NOT IN (0, '"default"'::regcollation)
                       THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END AS type
      FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid
     WHERE c.relkind NOT IN ('i', 'I') AND a.attnum > 0 AND NOT a.attisdropped
), routine AS MATERIALIZED (
    SELECT p.oid, p.proowner, p.proacl, p.prokind,
           p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')' AS name,
           format('%I.%I(%s)', $1, p.proname, pg_get_function_identity_arguments(p.oid)) AS quoted
      FROM member m JOIN pg_proc p ON p.oid = m.objid WHERE m.classid = 'pg_proc'::regclass
), owned(kind, object, owner, acl, type, what) AS (
    SELECT 'schema', '', n.nspowner, n.nspacl, 'n', format('SCHEMA %I', n.nspname) FROM schema n
    UNION ALL
    SELECT 'relation', c.relname, c.relowner, c.relacl, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END,
           CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.quoted
      FROM relation c WHERE c.relkind NOT IN ('i', 'I', 'c')
    UNION ALL
    SELECT 'function', r.name, r.proowner, r.proacl, 'f', 'ROUTINE ' || r.quoted FROM routine r
), acl AS (
    SELECT o.kind, o.object, o.what, a.privilege_type, a.is_grantable,
           CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END AS grantee,
           CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
      FROM owned o CROSS JOIN LATERAL aclexplode(coalesce(o.acl, acldefault(o.type::"char", o.owner))) a
), column_acl AS (
    SELECT a.relname || '.' || a.attname AS object, a.quoted, a.attname, x.privilege_type, x.is_grantable,
           CASE x.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(x.grantee) END AS grantee,
           CASE x.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END AS role
      FROM attribute a CROSS JOIN LATERAL aclexplode(a.attacl) x WHERE a.attacl IS NOT NULL
), fact(kind, object, definition, ordinal, make, finish, unmake, aside) AS (
    SELECT o.kind, o.object::text, 'owner ' || pg_get_userbyid(o.owner), 0,
           format('ALTER %s OWNER TO %I', o.what, pg_get_userbyid(o.owner)), NULL::text, NULL::text, NULL::text[]
      FROM owned o
    UNION ALL
    SELECT g.kind || ' grant', g.object,
           concat_ws(' ', g.privilege_type, 'to', g.grantee, CASE WHEN g.is_grantable THEN 'with grant option' END), 0,
           format('GRANT %s ON %s TO %s', g.privilege_type, g.what, g.role)
               || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, NULL,
           format('REVOKE %s ON %s FROM %s CASCADE', g.privilege_type, g.what, g.role), NULL
      FROM acl g
    UNION ALL
    SELECT 'column grant', g.object,
           concat_ws(' ', g.privilege_type, 'to', g.grantee, CASE WHEN g.is_grantable THEN 'with grant option' END), 0,
           format('GRANT %s (%I) ON %s TO %s', g.privilege_type, g.attname, g.quoted, g.role)
               || CASE WHEN g.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END, NULL,
           format('REVOKE %s (%I) ON %s FROM %s CASCADE', g.privilege_type, g.attname, g.quoted, g.role), NULL
      FROM column_acl g
    UNION ALL
    SELECT 'relation', c.relname, 'kind ' || c.relkind::text, 0,
           CASE c.relkind WHEN 'r' THEN format('CREATE TABLE %s ()', c.quoted) END, NULL,
           format('DROP %s %s', CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'TABLE' WHEN 'v' THEN 'VIEW'
                                               WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE'
                                               WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TYPE' END, c.quoted), NULL
      FROM relation c WHERE c.relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT 'relation', c.relname, 'logged', 1, format('ALTER TABLE %s SET LOGGED', c.quoted), NULL, NULL, NULL
      FROM relation c WHERE c.relkind = 'r' AND c.relpersistence = 'p'
    UNION ALL
    SELECT 'relation', c.relname, 'row security', 2,
           format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', c.quoted), NULL,
           format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', c.quoted), NULL
      FROM relation c WHERE c.relrowsecurity
    UNION ALL
    SELECT 'relation', c.relname, 'row security forced', 3,
           format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.quoted), NULL,
           format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY', c.quoted), NULL
      FROM relation c WHERE c.relforcerowsecurity
    UNION ALL
    SELECT 'relation', c.relname, 'replica identity ' || c.relreplident::text, 4,
           CASE c.relreplident WHEN 'd' THEN format('ALTER TABLE %s REPLICA IDENTITY DEFAULT', c.quoted) END, NULL,
           NULL, NULL
      FROM relation c WHERE c.relkind = 'r'
    UNION ALL
    SELECT 'relation', c.relname, concat('option ', s.name, '=', s.value), 5,
           format('ALTER TABLE %s SET (%I = %L)', c.quoted, s.name, s.value), NULL,
           format('ALTER %s %s RESET (%I)', CASE c.relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END, c.quoted, s.name),
           NULL
      FROM relation c CROSS JOIN LATERAL pg_options_to_table(c.reloptions) AS s(name, value)
     WHERE c.reloptions IS NOT NULL AND c.relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT 'relation', c.relname, 'inherits from ' || h.inhparent::regclass, 6, NULL, NULL,
           format('ALTER TABLE %s NO INHERIT %s', c.quoted, h.inhparent::regclass), NULL
      FROM relation c JOIN pg_inherits h ON h.inhrelid = c.oid WHERE c.relkind = 'r'
    UNION ALL
    SELECT 'relation', c.relname, 'is inherited by ' || h.inhrelid::regclass, 6, NULL, NULL,
           format('ALTER TABLE %s NO INHERIT %s', h.inhrelid::regclass, c.quoted), NULL
      FROM relation c JOIN pg_inherits h ON h.inhparent = c.oid WHERE c.relkind = 'r'
    UNION ALL
    SELECT 'view', c.relname, pg_get_viewdef(c.oid), 0, NULL, NULL, NULL, NULL
      FROM relation c WHERE c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'column', a.relname || '.' || a.attname, 'type ' || a.type, a.attnum,
           CASE a.relkind WHEN 'r' THEN format('ALTER TABLE %s ADD COLUMN %I %s', a.quoted, a.attname, a.type)
               || CASE WHEN a.attgenerated = '' THEN coalesce(' DEFAULT ' || a.expression, '') ELSE '' END END, NULL,
           CASE a.relkind WHEN 'r' THEN format('ALTER TABLE %s DROP COLUMN %I', a.quoted, a.attname) END, NULL
      FROM attribute a
    UNION ALL
    SELECT 'column', a.relname || '.' || a.attname, 'default ' || a.expression, a.attnum,
           format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT %s', a.quoted, a.attname, a.expression), NULL,
           format('ALTER TABLE %s ALTER COLUMN %I DROP DEFAULT', a.quoted, a.attname), NULL
      FROM attribute a WHERE a.expression IS NOT NULL AND a.attgenerated = ''
    UNION ALL
    SELECT 'column', a.relname || '.' || a.attname, 'not null', a.attnum,
           format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL', a.quoted, a.attname), NULL,
           format('ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL', a.quoted, a.attname), NULL
      FROM attribute a WHERE a.attnotnull
    UNION ALL
    SELECT 'column', a.relname || '.' || a.attname,
           concat_ws(' ', 'made by', nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
                     CASE WHEN a.attgenerated <> '' THEN a.expression END), a.attnum, NULL, NULL, NULL, NULL
      FROM attribute a WHERE a.attidentity <> '' OR a.attgenerated <> ''
    UNION ALL
    SELECT 'constraint', c.relname || '.' || k.conname,
           concat_ws(' ', pg_get_constraintdef(k.oid), CASE WHEN k.contype = 'f' AND EXISTS (
               SELECT FROM pg_trigger g WHERE g.tgconstraint = k.oid AND g.tgenabled <> 'O') THEN 'disabled' END), 0,
           format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.quoted, k.conname, pg_get_constraintdef(k.oid))
               || CASE WHEN k.contype IN ('c', 'f') AND k.convalidated THEN ' NOT VALID' ELSE '' END,
           CASE WHEN k.contype IN ('c', 'f') AND k.convalidated
                THEN format('ALTER TABLE %s VALIDATE CONSTRAINT %I', c.quoted, k.conname) END,
           format('ALTER TABLE %s DROP CONSTRAINT %I', c.quoted, k.conname), NULL
      FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid WHERE k.contype NOT IN ('n', 't')
    UNION ALL
    SELECT 'index', c.relname || '.' || ic.relname,
           concat_ws(' ', pg_get_indexdef(i.indexrelid),
                     CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'invalid' END), 0,
           CASE WHEN k.oid IS NULL THEN pg_get_indexdef(i.indexrelid) END, NULL,
           CASE WHEN k.oid IS NULL THEN format('DROP INDEX %I.%I', $1, ic.relname) END,
           CASE WHEN k.oid IS NULL THEN ARRAY[
               format('DROP INDEX CONCURRENTLY IF EXISTS %I.%I', $1, ic.relname),
               regexp_replace(pg_get_indexdef(i.indexrelid), '^(CREATE (UNIQUE )?INDEX) ', '\1 CONCURRENTLY ')] END
      FROM relation c
      JOIN pg_index i ON i.indrelid = c.oid
      JOIN pg_class ic ON ic.oid = i.indexrelid
      LEFT JOIN pg_constraint k ON k.conrelid = c.oid AND k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    UNION ALL
    SELECT 'trigger', c.relname || '.' || g.tgname, concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled), 0,
           pg_get_triggerdef(g.oid),
           CASE g.tgenabled WHEN 'O' THEN NULL
               ELSE format('ALTER TABLE %s %s TRIGGER %I', c.quoted,
                           CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS'
                                            ELSE 'ENABLE REPLICA' END, g.tgname) END,
           format('DROP TRIGGER %I ON %s', g.tgname, c.quoted), NULL
      FROM relation c JOIN pg_trigger g ON g.tgrelid = c.oid WHERE NOT g.tgisinternal
    UNION ALL
    SELECT 'rule', c.relname || '.' || r.rulename, concat_ws(' ', pg_get_ruledef(r.oid), r.ev_enabled), 0, NULL, NULL,
           format('DROP RULE %I ON %s', r.rulename, c.quoted), NULL
      FROM relation c JOIN pg_rewrite r ON r.ev_class = c.oid WHERE r.rulename <> '_RETURN'
    UNION ALL
    SELECT 'policy', c.relname || '.' || p.polname,
           concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, p.polcmd, 'to', s.names,
                     'using', s.qual, 'check', s.withcheck), 0,
           concat_ws(' ', format('CREATE POLICY %I ON %s AS', p.polname, c.quoted),
                     CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, 'FOR',
                     CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
                                   WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                     'TO', s.roles, 'USING (' || s.qual || ')', 'WITH CHECK (' || s.withcheck || ')'), NULL,
           format('DROP POLICY %I ON %s', p.polname, c.quoted), NULL
      FROM relation c JOIN pg_policy p ON p.polrelid = c.oid
     CROSS JOIN LATERAL (
           SELECT string_agg(CASE r.oid WHEN 0 THEN 'public' ELSE pg_get_userbyid(r.oid) END, ','
                             ORDER BY pg_get_userbyid(r.oid)) AS names,
                  string_agg(CASE r.oid WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r.oid)) END, ',')
                      AS roles,
                  pg_get_expr(p.polqual, p.polrelid) AS qual, pg_get_expr(p.polwithcheck, p.polrelid) AS withcheck
             FROM unnest(p.polroles) AS r(oid)) AS s
    UNION ALL
    SELECT 'function', r.name, pg_get_functiondef(r.oid), 0, pg_get_functiondef(r.oid), NULL,
           'DROP ROUTINE ' || r.quoted, NULL
      FROM routine r WHERE r.prokind <> 'a'
    UNION ALL
    SELECT 'type', t.typname, concat_ws(' ', t.typtype,
               (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid)),
           0, NULL, NULL, CASE WHEN t.typtype IN ('e', 'd', 'r') THEN format('DROP TYPE %I.%I', $1, t.typname) END, NULL
      FROM member m JOIN pg_type t ON t.oid = m.objid WHERE m.classid = 'pg_type'::regclass
    UNION ALL
    SELECT 'object', pg_describe_object(m.classid, m.objid, 0), NULL, 0, NULL, NULL, NULL, NULL
      FROM member m WHERE m.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
)"""
