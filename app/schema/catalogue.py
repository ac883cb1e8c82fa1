"""A schema's catalogue in normalised form, and how it differs from another.

A line stands for one fact: `kind⟶object⟶definition`. Lines hold no OID, and are looked up by index:
anything that filters pg_class by its namespace alone costs as much as all tenants together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.db.pool import Connection

# $1 the schema's name. What is in it is found through pg_depend's index on what depends on a schema. With
# search_path at pg_catalog every other name is printed qualified. NOT NULL is read off the columns: only
# PostgreSQL 18 stores it as a constraint. A default names no column, save a generated column's: told of
# the relation, pg_get_expr() would first collect the names of all its columns, every time.
_LINES: Final = r"""
WITH schema(oid, nspowner, nspacl) AS MATERIALIZED (
    SELECT n.oid, n.nspowner, n.nspacl FROM pg_namespace n WHERE n.nspname = $1
), member(classid, objid) AS MATERIALIZED (
    SELECT d.classid, d.objid FROM pg_depend d
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = (SELECT oid FROM schema)
), relation AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relowner, c.relacl, c.relpersistence, c.relrowsecurity,
           c.relforcerowsecurity, c.reloptions
      FROM member m JOIN pg_class c ON c.oid = m.objid WHERE m.classid = 'pg_class'::regclass
), attribute AS MATERIALIZED (
    SELECT c.relname, a.attrelid, a.attname, a.attnum, a.atttypid, a.atttypmod, a.attnotnull, a.atthasdef,
           a.attidentity, a.attgenerated, a.attcollation, a.attisdropped, a.attacl
      FROM relation c JOIN pg_attribute a ON a.attrelid = c.oid WHERE c.relkind NOT IN ('i', 'I')
), grants(kind, object, owner, acl, type) AS (
    SELECT 'schema', '', n.nspowner, n.nspacl, 'n' FROM schema n
    UNION ALL
    SELECT 'relation', c.relname, c.relowner, c.relacl, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END
      FROM relation c WHERE c.relkind NOT IN ('i', 'I', 'c')
    UNION ALL
    SELECT 'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner, p.proacl, 'f'
      FROM member m JOIN pg_proc p ON p.oid = m.objid
     WHERE m.classid = 'pg_proc'::regclass
)
SELECT kind || E'\t' || object || E'\t' || coalesce(definition, '') FROM (
    SELECT g.kind, g.object::text, 'owner ' || pg_get_userbyid(g.owner) AS definition FROM grants g
    UNION ALL
    SELECT g.kind || ' grant', g.object,
           concat_ws(' ', a.privilege_type, 'to',
                     CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END,
                     CASE WHEN a.is_grantable THEN 'with grant option' END)
      FROM grants g
     CROSS JOIN LATERAL aclexplode(coalesce(g.acl, acldefault(g.type::"char", g.owner))) a
    UNION ALL
    SELECT 'relation', c.relname, concat_ws(' ', 'kind', c.relkind, c.relpersistence,
               CASE WHEN c.relrowsecurity THEN 'rls' END,
               CASE WHEN c.relforcerowsecurity THEN 'forced' END, c.reloptions::text)
      FROM relation c WHERE c.relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT 'view', c.relname, pg_get_viewdef(c.oid) FROM relation c WHERE c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'column', a.relname || '.' || a.attname,
           concat_ws(' ', row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
                     format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
                     CASE WHEN a.atthasdef THEN 'default ' || (
                         SELECT pg_get_expr(d.adbin, CASE a.attgenerated WHEN '' THEN 0 ELSE d.adrelid END)
                           FROM pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum) END,
                     nullif(a.attidentity, ''), nullif(a.attgenerated, ''),
                     CASE WHEN a.attcollation NOT IN (0, '"default"'::regcollation)
                          THEN 'collate ' || a.attcollation::regcollation END)
      FROM attribute a
     WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'column grant', a.relname || '.' || a.attname,
           concat_ws(' ', x.privilege_type, 'to',
                     CASE x.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(x.grantee) END,
                     CASE WHEN x.is_grantable THEN 'with grant option' END)
      FROM attribute a CROSS JOIN LATERAL aclexplode(a.attacl) x WHERE a.attacl IS NOT NULL
    UNION ALL
    SELECT 'constraint', c.relname || '.' || k.conname,
           concat_ws(' ', pg_get_constraintdef(k.oid), CASE WHEN NOT k.convalidated THEN 'not valid' END)
      FROM relation c JOIN pg_constraint k ON k.conrelid = c.oid WHERE k.contype NOT IN ('n', 't')
    UNION ALL
    SELECT 'index', c.relname || '.' || ic.relname,
           concat_ws(' ', pg_get_indexdef(i.indexrelid),
                     CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'invalid' END)
      FROM relation c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class ic ON ic.oid = i.indexrelid
    UNION ALL
    SELECT 'trigger', c.relname || '.' || g.tgname, concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled)
      FROM relation c JOIN pg_trigger g ON g.tgrelid = c.oid WHERE NOT g.tgisinternal
    UNION ALL
    SELECT 'policy', c.relname || '.' || p.polname,
           concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, p.polcmd, 'to',
                     (SELECT string_agg(r.name, ',' ORDER BY r.name)
                        FROM (SELECT CASE m.oid WHEN 0 THEN 'public' ELSE pg_get_userbyid(m.oid) END
                                FROM unnest(p.polroles) AS m(oid)) AS r(name)),
                     'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
      FROM relation c JOIN pg_policy p ON p.polrelid = c.oid
    UNION ALL
    SELECT 'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', pg_get_functiondef(p.oid)
      FROM member m JOIN pg_proc p ON p.oid = m.objid
     WHERE m.classid = 'pg_proc'::regclass AND p.prokind <> 'a'
    UNION ALL
    SELECT 'type', t.typname, concat_ws(' ', t.typtype,
               (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
      FROM member m JOIN pg_type t ON t.oid = m.objid WHERE m.classid = 'pg_type'::regclass
    UNION ALL
    SELECT DISTINCT 'object', m.classid::regclass::text, m.objid::text
      FROM member m WHERE m.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
) AS line(kind, object, definition)
"""

# Right after its tenants were made, a catalogue's statistics are old: where the planner thinks it small it
# reads all of it, which is every tenant's share. The indexes are there; this makes it use them.
_PREPARE: Final = """
SELECT set_config('search_path', 'pg_catalog', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('jit', 'off', true)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Objects by `kind object`. `altered` ones exist on both sides with another definition."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        return not (self.missing or self.extra or self.altered)

    def summary(self, *, limit: int = 5) -> str:
        parts = []
        for label in ("missing", "extra", "altered"):
            names: tuple[str, ...] = getattr(self, label)
            if names:
                more = f" and {len(names) - limit} more" if len(names) > limit else ""
                parts.append(f"{label}: {', '.join(names[:limit])}{more}")
        return "; ".join(parts) or "nothing"


async def read(conn: Connection, schema_name: str) -> tuple[str, ...] | None:
    """The schema's lines, sorted; None where there is no such schema.

    Leaves search_path and planner settings changed until the transaction ends: call it last, or in one of its own.
    """
    await conn.execute(_PREPARE)
    rows = await conn.fetch(_LINES, schema_name)
    # Its owner is a line, so a schema that is there has one.
    return tuple(sorted(row[0] for row in rows)) or None


def compare(*, expected: Sequence[str], actual: Sequence[str]) -> Difference:
    """What `actual` lacks, has too much, or has otherwise than `expected`."""
    wanted, found = set(expected), set(actual)
    if wanted == found:
        return Difference()
    lost, gained = _objects(wanted - found), _objects(found - wanted)
    return Difference(
        missing=tuple(sorted(lost - gained)),
        extra=tuple(sorted(gained - lost)),
        altered=tuple(sorted(lost & gained)),
    )


def _objects(lines: set[str]) -> set[str]:
    return {_name(line) for line in lines}


def _name(line: str) -> str:
    """A grant is told by what it grants; everything else by its kind and name."""
    kind, name, definition = line.split("\t", 2)
    return f"{kind} {name} {definition}" if kind.endswith("grant") else f"{kind} {name}".strip()
