"""A schema's catalogue in normalised form, and how it differs from another.

A line stands for one fact: `kind⟶object⟶definition`. Lines hold no OID, and are looked up by index:
anything that filters pg_class by its namespace alone costs as much as all tenants together.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.db.pool import Connection

# Every pg_class row of the schema, found through pg_depend's index on what it depends on.
_RELATIONS: Final = """
SELECT n.oid AS schema_oid,
       ARRAY(SELECT d.objid FROM pg_depend d
              WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
                AND d.classid = 'pg_class'::regclass) AS relations
  FROM pg_namespace n WHERE n.nspname = $1
"""

# $1 the schema's oid, $2 its relations. With search_path at pg_catalog every other name is printed
# qualified. NOT NULL is read off the columns: only PostgreSQL 18 stores it as a constraint.
_LINES: Final = r"""
WITH grants(kind, object, owner, acl, type) AS (
    SELECT 'schema', '', n.nspowner, n.nspacl, 'n' FROM pg_namespace n WHERE n.oid = $1
    UNION ALL
    SELECT 'relation', c.relname, c.relowner, c.relacl, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END
      FROM pg_class c WHERE c.oid = ANY ($2) AND c.relkind NOT IN ('i', 'I', 'c')
    UNION ALL
    SELECT 'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', p.proowner, p.proacl, 'f'
      FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1 AND d.classid = 'pg_proc'::regclass
)
SELECT kind || E'\t' || object || E'\t' || coalesce(definition, '') FROM (
    SELECT g.kind, g.object::text, 'owner ' || pg_get_userbyid(g.owner) AS definition FROM grants g
    UNION ALL
    SELECT g.kind || ' grant', g.object,
           concat_ws(' ', a.privilege_type, 'to', coalesce(r.rolname, 'public'),
                     CASE WHEN a.is_grantable THEN 'with grant option' END)
      FROM grants g
     CROSS JOIN LATERAL aclexplode(coalesce(g.acl, acldefault(g.type::"char", g.owner))) a
      LEFT JOIN pg_roles r ON r.oid = a.grantee
    UNION ALL
    SELECT 'relation', c.relname, concat_ws(' ', 'kind', c.relkind, c.relpersistence,
               CASE WHEN c.relrowsecurity THEN 'rls' END,
               CASE WHEN c.relforcerowsecurity THEN 'forced' END, c.reloptions::text)
      FROM pg_class c WHERE c.oid = ANY ($2) AND c.relkind NOT IN ('i', 'I')
    UNION ALL
    SELECT 'view', c.relname, pg_get_viewdef(c.oid) FROM pg_class c WHERE c.oid = ANY ($2) AND c.relkind IN ('v', 'm')
    UNION ALL
    SELECT 'column', c.relname || '.' || a.attname,
           concat_ws(' ', a.attnum, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'not null' END,
                     'default ' || pg_get_expr(ad.adbin, ad.adrelid), nullif(a.attidentity, ''),
                     nullif(a.attgenerated, ''),
                     CASE WHEN a.attcollation <> t.typcollation THEN 'collate ' || a.attcollation::regcollation END)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
      LEFT JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum
     WHERE c.oid = ANY ($2) AND c.relkind NOT IN ('i', 'I') AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'column grant', c.relname || '.' || a.attname, concat_ws(' ', x.privilege_type, 'to', r.rolname)
      FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
     CROSS JOIN LATERAL aclexplode(a.attacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
     WHERE c.oid = ANY ($2)
    UNION ALL
    SELECT 'constraint', c.relname || '.' || k.conname,
           concat_ws(' ', pg_get_constraintdef(k.oid), CASE WHEN NOT k.convalidated THEN 'not valid' END)
      FROM pg_class c JOIN pg_constraint k ON k.conrelid = c.oid
     WHERE c.oid = ANY ($2) AND k.contype NOT IN ('n', 't')
    UNION ALL
    SELECT 'index', c.relname || '.' || ic.relname,
           concat_ws(' ', pg_get_indexdef(i.indexrelid),
                     CASE WHEN NOT (i.indisvalid AND i.indisready AND i.indislive) THEN 'invalid' END)
      FROM pg_class c JOIN pg_index i ON i.indrelid = c.oid JOIN pg_class ic ON ic.oid = i.indexrelid
     WHERE c.oid = ANY ($2)
    UNION ALL
    SELECT 'trigger', c.relname || '.' || g.tgname, concat_ws(' ', pg_get_triggerdef(g.oid), g.tgenabled)
      FROM pg_class c JOIN pg_trigger g ON g.tgrelid = c.oid WHERE c.oid = ANY ($2) AND NOT g.tgisinternal
    UNION ALL
    SELECT 'policy', c.relname || '.' || p.polname,
           concat_ws(' ', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, p.polcmd, 'to',
                     (SELECT string_agg(coalesce(r.rolname, 'public'), ',' ORDER BY r.rolname)
                        FROM unnest(p.polroles) AS m(oid) LEFT JOIN pg_roles r ON r.oid = m.oid),
                     'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid))
      FROM pg_class c JOIN pg_policy p ON p.polrelid = c.oid WHERE c.oid = ANY ($2)
    UNION ALL
    SELECT 'function', p.proname || '(' || pg_get_function_identity_arguments(p.oid) || ')', pg_get_functiondef(p.oid)
      FROM pg_depend d JOIN pg_proc p ON p.oid = d.objid
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1 AND d.classid = 'pg_proc'::regclass
       AND p.prokind <> 'a'
    UNION ALL
    SELECT 'type', t.typname, concat_ws(' ', t.typtype,
               (SELECT string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))
      FROM pg_depend d JOIN pg_type t ON t.oid = d.objid
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1 AND d.classid = 'pg_type'::regclass
    UNION ALL
    SELECT DISTINCT 'object', d.classid::regclass::text, d.objid::text
      FROM pg_depend d
     WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = $1
       AND d.classid NOT IN ('pg_class'::regclass, 'pg_proc'::regclass, 'pg_type'::regclass)
) AS line(kind, object, definition)
"""

# Right after its tenants were made, a catalogue's statistics are old: where the planner thinks it small it
# reads all of it, which is every tenant's share. The indexes are there; this makes it use them.
_PREPARE: Final = """
SELECT set_config('search_path', 'pg_catalog', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
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
    found = await conn.fetchrow(_RELATIONS, schema_name)
    if found is None:
        return None
    rows = await conn.fetch(_LINES, found["schema_oid"], found["relations"])
    return tuple(sorted(row[0] for row in rows))


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
