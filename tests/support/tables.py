"""How many rows each of the service's tables holds: what a call that must leave nothing is measured by.

But for those that a worker writes of its own accord, at a time of its own.
"""

import asyncpg

_TABLES = r"""
SELECT format('SELECT %L::text AS name, count(*) AS rows FROM %I.%I', concat(n.nspname, '.', c.relname),
              n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname IN ('bf_control', 'bf_queue', 'bf_shared') AND c.relkind IN ('r', 'p')
   AND c.relname NOT IN ('audit_seal', 'audit_segment', 'isolation_check', 'collection', 'size_history', 'worker',
                         'limit_excess')
   AND c.relname NOT LIKE '%\_snapshot'
 ORDER BY n.nspname, c.relname
"""


async def counts(conn: asyncpg.Connection) -> dict[str, int]:
    """Rows by table; the caller must see them all, as a superuser does."""
    queries = [row[0] for row in await conn.fetch(_TABLES)]
    assert len(queries) > 20, queries
    return {row["name"]: row["rows"] for row in await conn.fetch(" UNION ALL ".join(queries))}
