"""Of an hour, and later of a day, the last sample stays; and the whole has an end."""

from dataclasses import replace
from datetime import timedelta

import asyncpg

from app.collect import history_queries
from app.collect.model import Collector
from tests.collect.support import RETENTION, collect
from tests.support.data import make_tenant

# Every ten minutes, for as many days.
_SAMPLES = """
INSERT INTO bf_control.size_history (tenant_id, taken_at, total_bytes, live_rows, dead_rows, tables)
SELECT 'acme', taken_at, extract(epoch FROM taken_at)::bigint, 0, 0, '{}'
  FROM generate_series(date_trunc('day', now(), 'UTC') - $1::integer * interval '1 day', now(), interval '10 minutes')
       AS taken_at
"""
_KEPT = """
SELECT grain, count(*) AS kept, min(now() - taken_at) AS youngest, max(now() - taken_at) AS oldest
  FROM bf_control.size_history GROUP BY grain
"""


async def test_samples_get_fewer_with_age_and_the_last_of_each_hour_and_day_stay(
    dsn: str, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme")
    await conn.execute(_SAMPLES, 10)
    keep = replace(RETENTION, minutes=timedelta(days=1), hours=timedelta(days=3))
    await collect(dsn, Collector.HISTORY, retention=keep)
    kept = {row["grain"]: row for row in await conn.fetch(_KEPT)}
    assert kept["minute"]["oldest"] <= timedelta(days=1, hours=1)
    assert kept["minute"]["kept"] >= 144
    assert kept["hour"]["oldest"] <= timedelta(days=4)
    assert 48 <= kept["hour"]["kept"] <= 72
    assert 6 <= kept["day"]["kept"] <= 8
    # The last of its hour, and of its day.
    assert await conn.fetchval(
        "SELECT bool_and(extract(minute FROM taken_at) = 50) FROM bf_control.size_history WHERE grain = 'hour'"
    )
    assert await conn.fetchval(
        "SELECT bool_and(to_char(taken_at AT TIME ZONE 'UTC', 'HH24:MI') = '23:50') "
        "FROM bf_control.size_history WHERE grain = 'day'"
    )


async def test_a_second_thinning_changes_nothing(dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme")
    await conn.execute(_SAMPLES, 3)
    await collect(dsn, Collector.HISTORY)
    before = await conn.fetch("SELECT taken_at, grain, xmin::text FROM bf_control.size_history ORDER BY taken_at")
    await collect(dsn, Collector.HISTORY)
    assert before == await conn.fetch(
        "SELECT taken_at, grain, xmin::text FROM bf_control.size_history ORDER BY taken_at"
    )


async def test_days_end_and_a_batch_is_no_end(dsn: str, conn: asyncpg.Connection) -> None:
    """More rows than one transaction looks at."""
    await make_tenant(conn, "acme")
    await conn.execute(_SAMPLES, 3 * history_queries.BATCH // 144)
    keep = replace(RETENTION, minutes=timedelta(0), hours=timedelta(0), days=timedelta(days=5))
    await collect(dsn, Collector.HISTORY, retention=keep)
    rows = {row["grain"]: row for row in await conn.fetch(_KEPT)}
    assert rows["day"]["oldest"] < timedelta(days=6)
    assert rows["day"]["kept"] <= 6
    assert sum(row["kept"] for row in rows.values()) < 40


async def test_the_newest_look_at_the_database_stays_whatever_its_age(dsn: str, conn: asyncpg.Connection) -> None:
    """Collectors may have been off for years: what they saw last is told with its time."""
    for _ in range(3):
        await collect(dsn, Collector.FLEET)
    await conn.execute("UPDATE bf_control.fleet_snapshot SET taken_at = taken_at - interval '5 years'")
    for _ in range(3):
        await collect(dsn, Collector.HISTORY)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.fleet_snapshot") == 1
