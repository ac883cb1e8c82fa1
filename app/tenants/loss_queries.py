"""SQL of what would be lost with tenants."""

from typing import Any, NamedTuple

from app.db.pool import Connection

# Of one schema, found through pg_depend: pg_class has no index that leads with relnamespace.
_TABLES = """
SELECT c.relname::text AS name, greatest(c.reltuples, 0)::bigint AS rows,
       coalesce(pg_total_relation_size(c.oid), 0)::bigint AS bytes,
       format('SELECT count(*) FROM %I.%I', n.nspname, c.relname) AS counting,
       has_table_privilege(bf_control.setting_of('audit_role'), c.oid, 'SELECT') AS readable
  FROM pg_namespace n
  JOIN pg_depend d ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
                  AND d.classid = 'pg_class'::regclass
  JOIN pg_class c ON c.oid = d.objid AND c.relkind = 'r'
 WHERE n.nspname = $1 ORDER BY c.relname
"""
# Of many, in one pass over pg_class, as VACUUM and ANALYZE last saw them; without TOAST.
_ESTIMATES = """
SELECT t.tenant_id::text AS tenant_id, t.state, t.generation,
       coalesce(s.tables, 0) AS tables, coalesce(s.rows, 0)::bigint AS rows, coalesce(s.bytes, 0)::bigint AS bytes
  FROM bf_control.tenant t
  LEFT JOIN pg_namespace n ON n.nspname = t.schema_name AND t.schema_version IS NOT NULL
  LEFT JOIN (SELECT c.relnamespace, sum(c.relpages::bigint) * current_setting('block_size')::bigint AS bytes,
                    count(*) FILTER (WHERE c.relkind = 'r') AS tables,
                    sum(greatest(c.reltuples, 0)) FILTER (WHERE c.relkind = 'r') AS rows
               FROM pg_class c GROUP BY c.relnamespace) s ON s.relnamespace = n.oid
 WHERE t.tenant_id = ANY ($1::text[])
 ORDER BY t.tenant_id
"""


class Table(NamedTuple):
    """`rows` is PostgreSQL's estimate; `counting` is the statement that counts them, for who is let."""

    name: str
    rows: int
    bytes: int
    counting: str
    readable: bool


class Estimate(NamedTuple):
    tenant_id: str
    state: str
    generation: int
    tables: int
    rows: int
    bytes: int


async def tables(conn: Connection, schema_name: str) -> list[Table]:
    return [Table(**dict(row)) for row in await conn.fetch(_TABLES, schema_name)]


async def count(conn: Connection, table: Table) -> int:
    """All rows, where the current role sees them all."""
    counted: Any = await conn.fetchval(table.counting)
    return int(counted)


async def estimates(conn: Connection, tenant_ids: list[str]) -> list[Estimate]:
    """By id; of those that are there."""
    return [Estimate(**dict(row)) for row in await conn.fetch(_ESTIMATES, tenant_ids)]
