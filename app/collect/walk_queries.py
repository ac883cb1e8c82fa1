"""SQL of the walk over tenants: what is read of the catalogue of some of them at a time, and kept.

Everything is found by (relname, relnamespace), or through an index of the table it belongs to: the time a tenant takes
does not depend on how many there are. Sizes cost the most (PostgreSQL opens each file's relation, and keeps what it
learned of it): they are measured of tables that may have changed since, and of all once a day.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from app.db.pool import Connection

# Right after its tenants were made a catalogue's statistics are old: the indexes are there, and this uses them. What is
# looked up by several columns stands in a subquery that OFFSET 0 keeps apart, so that all of them are used: in a join
# PostgreSQL may take the name alone, and read every tenant's table of that name. Nobody is waited for: a table that is
# locked is looked at in the next round.
_PREPARE = """
SELECT set_config('search_path', 'pg_catalog', true), set_config('enable_seqscan', 'off', true),
       set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
       set_config('jit', 'off', true), set_config('lock_timeout', '50ms', true),
       set_config('statement_timeout', $1, true)
"""
_LAYOUT = """
SELECT s.version, found.table_name, found.suffix
  FROM bf_control.tenant_statement s
 CROSS JOIN LATERAL (
     SELECT (regexp_match(s.statement, '^CREATE TABLE (?:IF NOT EXISTS )?([a-z0-9_]+)'))[1] AS table_name,
            (regexp_match(s.statement, '^CREATE [A-Z ]*INDEX [^{]*[{][{]index ([a-z0-9_]+)[}][}]'))[1] AS suffix) found
 WHERE s.section IN ('table', 'index') AND (found.table_name IS NOT NULL OR found.suffix IS NOT NULL)
 ORDER BY s.version, s.ordinal
"""
_SLICE = """
SELECT tenant_id FROM bf_control.tenant WHERE schema_version IS NOT NULL AND tenant_id > $1 ORDER BY tenant_id LIMIT $2
"""
# $1 tenants, $2 names of tables, $3 how old the last measuring of everything may be. A relation that is dropped
# meanwhile has no size any more. Statistics may have been lost in a crash: then what ANALYZE last estimated is told.
# Answers with the tables whose sizes were measured.
_TABLES = """
WITH asked AS MATERIALIZED (
    SELECT t.tenant_id, n.oid AS namespace, coalesce(s.measured_at < now() - $3::interval, true) AS anew
      FROM unnest($1::text[]) AS w(tenant_id)
     CROSS JOIN LATERAL (
         SELECT t.tenant_id, t.schema_name FROM bf_control.tenant t
          WHERE t.tenant_id = w.tenant_id AND t.schema_version IS NOT NULL OFFSET 0) t
      JOIN pg_namespace n ON n.nspname = t.schema_name
      LEFT JOIN bf_control.schema_snapshot s ON s.tenant_id = t.tenant_id
), found AS MATERIALIZED (
    SELECT a.tenant_id, a.anew, c.relname::text AS table_name, c.oid, c.reltoastrelid, c.reltuples, c.relrowsecurity,
           c.relforcerowsecurity, i.index_count, p.policy_count,
           pg_stat_get_tuples_inserted(c.oid) + pg_stat_get_tuples_updated(c.oid)
               + pg_stat_get_tuples_deleted(c.oid) AS changes,
           concat_ws(' ', c.relfilenode, i.files, pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid),
                     pg_stat_get_tuples_deleted(c.oid), pg_stat_get_vacuum_count(c.oid),
                     pg_stat_get_autovacuum_count(c.oid)) AS activity
      FROM asked a
      JOIN unnest($2::text[]) AS w(table_name) ON true
     CROSS JOIN LATERAL (
         SELECT c.oid, c.relname, c.relfilenode, c.reltoastrelid, c.reltuples, c.relrowsecurity, c.relforcerowsecurity
           FROM pg_class c
          WHERE c.relname = w.table_name::name AND c.relnamespace = a.namespace AND c.relkind IN ('r', 'p')
         OFFSET 0) c
     CROSS JOIN LATERAL (
         SELECT count(*) AS index_count, sum(x.relfilenode::bigint) AS files
           FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = c.oid) i
     CROSS JOIN LATERAL (SELECT count(*) AS policy_count FROM pg_policy p WHERE p.polrelid = c.oid) p
), changed AS MATERIALIZED (
    SELECT f.*, s.heap_bytes, s.index_bytes, s.toast_bytes,
           f.anew OR s.activity IS DISTINCT FROM f.activity AS measure
      FROM found f
      LEFT JOIN bf_control.table_snapshot s ON s.tenant_id = f.tenant_id AND s.table_name = f.table_name
), sized AS MATERIALIZED (
    SELECT c.*,
           CASE WHEN c.measure THEN pg_relation_size(c.oid) + pg_relation_size(c.oid, 'fsm')
                                    + pg_relation_size(c.oid, 'vm') ELSE c.heap_bytes END AS heap,
           CASE WHEN c.measure THEN pg_indexes_size(c.oid) ELSE c.index_bytes END AS indexes,
           CASE WHEN NOT c.measure THEN c.toast_bytes
                WHEN c.reltoastrelid = 0 THEN 0 ELSE pg_total_relation_size(c.reltoastrelid) END AS toast
      FROM changed c
), kept AS (
    INSERT INTO bf_control.table_snapshot AS s
           (tenant_id, table_name, total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows, dead_rows,
            sequential_scans, index_count, policy_count, rls_enabled, rls_forced, last_vacuum_at, last_analyze_at,
            activity)
    SELECT z.tenant_id, z.table_name, z.heap + z.indexes + z.toast, z.heap, z.indexes, z.toast,
           CASE WHEN z.changes = 0 THEN greatest(pg_stat_get_live_tuples(z.oid), z.reltuples::bigint, 0)
                ELSE pg_stat_get_live_tuples(z.oid) END,
           pg_stat_get_dead_tuples(z.oid), pg_stat_get_numscans(z.oid), z.index_count, z.policy_count,
           z.relrowsecurity, z.relforcerowsecurity,
           greatest(pg_stat_get_last_vacuum_time(z.oid), pg_stat_get_last_autovacuum_time(z.oid)),
           greatest(pg_stat_get_last_analyze_time(z.oid), pg_stat_get_last_autoanalyze_time(z.oid)), z.activity
      FROM sized z WHERE z.heap IS NOT NULL AND z.indexes IS NOT NULL AND z.toast IS NOT NULL
        ON CONFLICT (tenant_id, table_name) DO UPDATE
       SET total_bytes = excluded.total_bytes, heap_bytes = excluded.heap_bytes, index_bytes = excluded.index_bytes,
           toast_bytes = excluded.toast_bytes, live_rows = excluded.live_rows, dead_rows = excluded.dead_rows,
           sequential_scans = excluded.sequential_scans, index_count = excluded.index_count,
           policy_count = excluded.policy_count, rls_enabled = excluded.rls_enabled, rls_forced = excluded.rls_forced,
           last_vacuum_at = excluded.last_vacuum_at, last_analyze_at = excluded.last_analyze_at,
           activity = excluded.activity
     WHERE ROW(s.*) IS DISTINCT FROM ROW(excluded.*)
), gone AS (
    DELETE FROM bf_control.table_snapshot s
     WHERE s.tenant_id = ANY ($1::text[])
       AND NOT EXISTS (SELECT FROM found f WHERE f.tenant_id = s.tenant_id AND f.table_name = s.table_name)
)
SELECT oid FROM sized WHERE measure
"""
# $3 the tables that were measured.
_INDEXES = """
WITH found AS MATERIALIZED (
    SELECT t.tenant_id, x.relname::text AS index_name, c.relname::text AS table_name, x.oid,
           i.indisunique OR i.indisexclusion AS is_unique, i.indisvalid AND i.indisready AS is_valid,
           CASE WHEN s.bytes IS NULL OR c.oid = ANY ($3::oid[]) THEN pg_relation_size(x.oid) ELSE s.bytes END AS bytes
      FROM unnest($1::text[]) AS w(tenant_id)
     CROSS JOIN LATERAL (
         SELECT t.tenant_id, t.schema_name FROM bf_control.tenant t
          WHERE t.tenant_id = w.tenant_id AND t.schema_version IS NOT NULL OFFSET 0) t
      JOIN pg_namespace n ON n.nspname = t.schema_name
      JOIN unnest($2::text[]) AS l(table_name) ON true
     CROSS JOIN LATERAL (
         SELECT c.oid, c.relname FROM pg_class c
          WHERE c.relname = l.table_name::name AND c.relnamespace = n.oid AND c.relkind IN ('r', 'p') OFFSET 0) c
      JOIN pg_index i ON i.indrelid = c.oid
      JOIN pg_class x ON x.oid = i.indexrelid
      LEFT JOIN bf_control.index_snapshot s ON s.tenant_id = t.tenant_id AND s.index_name = x.relname::text
), kept AS (
    INSERT INTO bf_control.index_snapshot AS s
           (tenant_id, index_name, table_name, bytes, scans, tuples_read, tuples_fetched, is_unique, is_valid)
    SELECT f.tenant_id, f.index_name, f.table_name, f.bytes, pg_stat_get_numscans(f.oid),
           pg_stat_get_tuples_returned(f.oid), pg_stat_get_tuples_fetched(f.oid), f.is_unique, f.is_valid
      FROM found f WHERE f.bytes IS NOT NULL
        ON CONFLICT (tenant_id, index_name) DO UPDATE
       SET table_name = excluded.table_name, bytes = excluded.bytes, scans = excluded.scans,
           tuples_read = excluded.tuples_read, tuples_fetched = excluded.tuples_fetched,
           is_unique = excluded.is_unique, is_valid = excluded.is_valid
     WHERE (s.table_name, s.bytes, s.scans, s.tuples_read, s.tuples_fetched, s.is_unique, s.is_valid) IS DISTINCT FROM
           (excluded.table_name, excluded.bytes, excluded.scans, excluded.tuples_read, excluded.tuples_fetched,
            excluded.is_unique, excluded.is_valid)
)
DELETE FROM bf_control.index_snapshot s
 WHERE s.tenant_id = ANY ($1::text[])
   AND NOT EXISTS (SELECT FROM found f WHERE f.tenant_id = s.tenant_id AND f.index_name = s.index_name)
"""
# $2 and $3 names of tables and the version each belongs to, $4 and $5 the same of indexes' suffixes, $6 as _TABLES' $3.
_SUMMARY = """
INSERT INTO bf_control.schema_snapshot AS s
       (tenant_id, taken_at, measured_at, total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows, dead_rows,
        table_count, index_count, invalid_indexes, unused_indexes, missing_tables, missing_indexes, open_tables)
SELECT t.tenant_id, clock_timestamp(), clock_timestamp(), b.total_bytes, b.heap_bytes, b.index_bytes, b.toast_bytes,
       b.live_rows, b.dead_rows, b.table_count, i.index_count, i.invalid_indexes, i.unused_indexes,
       ARRAY(SELECT l.name FROM unnest($2::text[], $3::integer[]) AS l(name, version)
              WHERE l.version <= t.schema_version AND l.name <> ALL (b.names) ORDER BY 1),
       ARRAY(SELECT 'idx_' || t.tenant_id || '_' || l.suffix
               FROM unnest($4::text[], $5::integer[]) AS l(suffix, version)
              WHERE l.version <= t.schema_version AND 'idx_' || t.tenant_id || '_' || l.suffix <> ALL (i.names)
              ORDER BY 1),
       b.open_tables
  FROM unnest($1::text[]) AS w(tenant_id)
 CROSS JOIN LATERAL (
     SELECT t.tenant_id, t.schema_version FROM bf_control.tenant t
      WHERE t.tenant_id = w.tenant_id AND t.schema_version IS NOT NULL OFFSET 0) t
  LEFT JOIN bf_control.setting r ON r.name = 'enable_rls'
 CROSS JOIN LATERAL (
     SELECT coalesce(sum(k.total_bytes), 0) AS total_bytes, coalesce(sum(k.heap_bytes), 0) AS heap_bytes,
            coalesce(sum(k.index_bytes), 0) AS index_bytes, coalesce(sum(k.toast_bytes), 0) AS toast_bytes,
            coalesce(sum(k.live_rows), 0) AS live_rows, coalesce(sum(k.dead_rows), 0) AS dead_rows,
            count(*) AS table_count, coalesce(array_agg(k.table_name), '{}') AS names,
            coalesce(array_agg(k.table_name ORDER BY k.table_name) FILTER (
                WHERE r.value IS DISTINCT FROM 'false'
                  AND NOT (k.rls_enabled AND k.rls_forced AND k.policy_count >= 2)), '{}') AS open_tables
       FROM bf_control.table_snapshot k WHERE k.tenant_id = t.tenant_id) b
 CROSS JOIN LATERAL (
     SELECT count(*) AS index_count, count(*) FILTER (WHERE NOT k.is_valid) AS invalid_indexes,
            count(*) FILTER (WHERE k.is_unused) AS unused_indexes, coalesce(array_agg(k.index_name), '{}') AS names
       FROM bf_control.index_snapshot k WHERE k.tenant_id = t.tenant_id) i
    ON CONFLICT (tenant_id) DO UPDATE
   SET taken_at = excluded.taken_at,
       measured_at = CASE WHEN s.measured_at < now() - $6::interval THEN excluded.measured_at ELSE s.measured_at END,
       total_bytes = excluded.total_bytes, heap_bytes = excluded.heap_bytes, index_bytes = excluded.index_bytes,
       toast_bytes = excluded.toast_bytes, live_rows = excluded.live_rows, dead_rows = excluded.dead_rows,
       table_count = excluded.table_count, index_count = excluded.index_count,
       invalid_indexes = excluded.invalid_indexes, unused_indexes = excluded.unused_indexes,
       missing_tables = excluded.missing_tables, missing_indexes = excluded.missing_indexes,
       open_tables = excluded.open_tables
"""
_REMEMBER = """
INSERT INTO bf_control.size_history (tenant_id, taken_at, total_bytes, live_rows, dead_rows, tables)
SELECT s.tenant_id, s.taken_at, s.total_bytes, s.live_rows, s.dead_rows, k.tables
  FROM unnest($1::text[]) AS w(tenant_id)
  JOIN bf_control.schema_snapshot s ON s.tenant_id = w.tenant_id
 CROSS JOIN LATERAL (
     SELECT coalesce(jsonb_object_agg(k.table_name, jsonb_build_array(k.total_bytes, k.live_rows)), '{}') AS tables
       FROM bf_control.table_snapshot k WHERE k.tenant_id = s.tenant_id) k
  LEFT JOIN LATERAL (
     SELECT h.taken_at, h.dead_rows, h.tables FROM bf_control.size_history h
      WHERE h.tenant_id = s.tenant_id ORDER BY h.taken_at DESC LIMIT 1) h ON true
 WHERE (h.tables, h.dead_rows) IS DISTINCT FROM (k.tables, s.dead_rows)
    OR date_trunc('day', h.taken_at, 'UTC') < date_trunc('day', s.taken_at, 'UTC')
"""
# Rows that were written while their tenant was purged.
_ORPHANS = """
WITH orphan AS MATERIALIZED (
    SELECT s.tenant_id FROM bf_control.schema_snapshot s
     WHERE NOT EXISTS (SELECT FROM bf_control.tenant t WHERE t.tenant_id = s.tenant_id AND t.schema_version IS NOT NULL)
     LIMIT 100
), of_tables AS (
    DELETE FROM bf_control.table_snapshot k USING orphan o WHERE k.tenant_id = o.tenant_id
), of_indexes AS (
    DELETE FROM bf_control.index_snapshot k USING orphan o WHERE k.tenant_id = o.tenant_id
), of_history AS (
    DELETE FROM bf_control.size_history k USING orphan o WHERE k.tenant_id = o.tenant_id
)
DELETE FROM bf_control.schema_snapshot k USING orphan o WHERE k.tenant_id = o.tenant_id
"""

# Tables whose sizes nothing seems to have changed are measured all the same, this often.
ANEW: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Tables and indexes of tenants, each with the version it belongs to; of an index the end of its name."""

    tables: Sequence[tuple[str, int]]
    indexes: Sequence[tuple[str, int]]


async def layout(conn: Connection) -> Layout:
    """As the tenant migrations say that are loaded."""
    rows = await conn.fetch(_LAYOUT)
    return Layout(
        tables=[(row["table_name"], row["version"]) for row in rows if row["table_name"] is not None],
        indexes=[(row["suffix"], row["version"]) for row in rows if row["suffix"] is not None],
    )


async def prepare(conn: Connection, *, alone: bool) -> None:
    """Settings for the rest of the transaction. What is too slow for many is tried with fewer of them; one tenant
    `alone` has longer, so that a server at its limits is not blind.
    """
    await conn.execute(_PREPARE, "10s" if alone else "900ms")


async def slice_after(conn: Connection, after: str, *, limit: int) -> list[str]:
    """Ids of tenants with a schema, in order, beyond `after`."""
    return [row["tenant_id"] for row in await conn.fetch(_SLICE, after, limit)]


async def look(conn: Connection, tenant_ids: Sequence[str], known: Layout) -> None:
    """Keeps what there is to see of these tenants. Of one that has gone meanwhile there is nothing.

    Raises Transient where one of their tables is locked.
    """
    names = [name for name, _ in known.tables]
    measured = await conn.fetch(_TABLES, tenant_ids, names, ANEW)
    await conn.execute(_INDEXES, tenant_ids, names, [row["oid"] for row in measured])
    await conn.execute(_SUMMARY, tenant_ids, *_columns(known.tables), *_columns(known.indexes), ANEW)
    await conn.execute(_REMEMBER, tenant_ids)


async def forget_orphans(conn: Connection) -> None:
    """What is left of tenants that are no more: a hundred of them at most."""
    await conn.execute(_ORPHANS)


def _columns(pairs: Sequence[tuple[str, int]]) -> tuple[list[str], list[int]]:
    return [name for name, _ in pairs], [version for _, version in pairs]
