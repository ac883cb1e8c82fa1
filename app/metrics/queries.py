"""SQL of what /metrics tells of the database: two statements, the second of which is asked seldom."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from app.db.pool import Connection
from app.metrics.model import BOUNDS, Collected, Ended, Fleet, Large, Snapshot, Tenants, Unfinished, Work

# All of it by partial indexes of what is not finished, whatever else there is. An operation is in operation_end or in
# operation_total, and one statement sees it in one of them: no sum of both is ever less than the one before.
_WORK: Final = """
SELECT jobs.queued, jobs.picked, jobs.oldest AS oldest_job, pending.count AS pending, pending.oldest AS oldest_delivery,
       (SELECT count(*) FROM bf_control.webhook_delivery d WHERE d.status = 'dead') AS dead,
       unsealed.count AS unsealed, unsealed.seconds AS seal_lag,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(o.kind, o.status, o.count)), '[]')
          FROM (SELECT kind, status, count(*) AS count FROM bf_control.operation
                 WHERE status IN ('queued', 'running') GROUP BY kind, status) o) AS unfinished,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(e.kind, e.outcome, e.le::text, e.count, e.seconds)), '[]')
          FROM (SELECT kind, outcome, le, sum(operations) AS count, sum(seconds) AS seconds
                  FROM (SELECT kind, outcome, le, operations, seconds FROM bf_control.operation_total
                        UNION ALL
                        SELECT kind, outcome, bf_control.operation_bucket(seconds), 1, seconds
                          FROM bf_control.operation_end) every
                 GROUP BY kind, outcome, le) e) AS ended
  FROM (SELECT count(*) FILTER (WHERE j.status = 'queued') AS queued,
               count(*) FILTER (WHERE j.status = 'picked') AS picked,
               greatest(coalesce(extract(epoch FROM now() - min(j.execute_after)
                                         FILTER (WHERE j.status = 'queued')), 0), 0)::float8 AS oldest
          FROM bf_queue.pgqueuer j WHERE j.status IN ('queued', 'picked')) jobs,
       (SELECT count(*), coalesce(extract(epoch FROM now() - min(d.queued_at)), 0)::float8 AS oldest
          FROM bf_control.webhook_delivery d WHERE d.status = 'pending') pending,
       (SELECT count(*), coalesce(extract(epoch FROM now() - min(a.occurred_at)), 0)::float8 AS seconds
          FROM bf_control.audit a CROSS JOIN bf_control.audit_chain c
         WHERE (a.xid, a.id) > (CASE WHEN c.done_xid > pg_snapshot_xmax(pg_current_snapshot()) THEN '0'
                                     ELSE c.done_xid END, c.done_id)
           AND NOT EXISTS (SELECT FROM bf_control.audit_seal s WHERE s.audit_id = a.id)) unsealed
"""
# The whole registry, once: nothing to be asked often. What collectors have seen is read beside it.
_FLEET: Final = """
WITH latest AS (SELECT max(m.version) AS version FROM bf_control.migration m WHERE m.layer = 'tenant')
SELECT (SELECT coalesce(jsonb_agg(jsonb_build_array(g.state, g.schema_version, g.subscription_tier, g.count)), '[]')
          FROM (SELECT state, schema_version, subscription_tier, count(*) AS count
                  FROM bf_control.tenant GROUP BY state, schema_version, subscription_tier) g) AS tenants,
       (SELECT count(*) FROM bf_control.tenant t
         WHERE t.schema_version < (SELECT l.version FROM latest l)) AS behind,
       (SELECT coalesce(jsonb_object_agg(c.collector, extract(epoch FROM c.succeeded_at)), '{}')
          FROM bf_control.collection c WHERE c.succeeded_at IS NOT NULL) AS collected,
       (SELECT coalesce(jsonb_agg(jsonb_build_array(s.tenant_id, s.total_bytes, s.live_rows)), '[]')
          FROM (SELECT tenant_id, total_bytes, live_rows FROM bf_control.schema_snapshot
                 ORDER BY total_bytes DESC, tenant_id DESC LIMIT $1) s) AS largest,
       (SELECT jsonb_build_object('bytes', f.database_bytes, 'transaction_age', f.transaction_age,
                                  'connections', f.connections, 'max_connections', f.max_connections,
                                  'locks', f.locks_used, 'max_locks', f.locks_limit, 'standbys', f.standbys)
          FROM bf_control.fleet_snapshot f ORDER BY f.taken_at DESC LIMIT 1) AS snapshot
"""
# Whoever adds up at the same time takes other rows, and meets this one's sums in the same order.
_ADD_UP: Final = """
WITH taken AS (
    DELETE FROM bf_control.operation_end WHERE id IN (
        SELECT id FROM bf_control.operation_end ORDER BY id LIMIT 10000 FOR UPDATE SKIP LOCKED)
    RETURNING kind, outcome, seconds)
INSERT INTO bf_control.operation_total AS t (kind, outcome, le, operations, seconds)
SELECT e.kind, e.outcome, bf_control.operation_bucket(e.seconds) AS le, count(*), sum(e.seconds)
  FROM taken e GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (kind, outcome, le)
    DO UPDATE SET operations = t.operations + excluded.operations, seconds = t.seconds + excluded.seconds
"""


async def work(conn: Connection) -> Work:
    row: Any = await conn.fetchrow(_WORK)
    return Work(
        jobs={"queued": row["queued"], "picked": row["picked"]},
        oldest_job=row["oldest_job"],
        unfinished=[Unfinished(kind=kind, status=status, count=count) for kind, status, count in row["unfinished"]],
        ended=_ended(row["ended"]),
        unsealed=row["unsealed"],
        seal_lag=row["seal_lag"],
        deliveries={"pending": row["pending"], "dead": row["dead"]},
        oldest_delivery=row["oldest_delivery"],
    )


async def fleet(conn: Connection, *, largest: int) -> Fleet:
    """Of all tenants: as expensive as there are many."""
    row: Any = await conn.fetchrow(_FLEET, largest)
    return Fleet(
        tenants=[
            Tenants(state=state, schema_version=version, tier=tier, count=count)
            for state, version, tier, count in row["tenants"]
        ],
        behind=row["behind"],
        snapshot=None if row["snapshot"] is None else _snapshot(**row["snapshot"]),
        collected=[Collected(collector=name, succeeded_at=at) for name, at in row["collected"].items()],
        largest=[
            Large(tenant_id=tenant_id, total_bytes=size, live_rows=rows) for tenant_id, size, rows in row["largest"]
        ],
    )


def _snapshot(*, standbys: Sequence[dict[str, Any]], **figures: int) -> Snapshot:
    lags = {one["name"]: one["lag_seconds"] for one in standbys if one["lag_seconds"] is not None}
    return Snapshot(**figures, lags=lags)


async def add_up(conn: Connection) -> None:
    """Ended operations into the sums. Any number of processes may."""
    await conn.execute(_ADD_UP)


def _ended(rows: Sequence[Sequence[Any]]) -> list[Ended]:
    buckets: dict[tuple[str, str], dict[float, int]] = defaultdict(dict)
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for kind, outcome, le, count, took in rows:
        buckets[kind, outcome][float(le)] = int(count)
        seconds[kind, outcome] += float(took)
    return [
        Ended(kind=kind, outcome=outcome, cumulative=_cumulative(counts), seconds=seconds[kind, outcome])
        for (kind, outcome), counts in sorted(buckets.items())
    ]


def _cumulative(counts: dict[float, int]) -> list[int]:
    bounds = (*BOUNDS, float("inf"))
    return [sum(count for le, count in counts.items() if le <= bound) for bound in bounds]
