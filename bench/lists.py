"""Pages of 100 tenants out of 100,000 registry rows against 1,000, each filter and order; searches.

The shortest of many runs of each: what else the machine does makes a run longer, never shorter.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from app.db.pool import Connection
from app.registry.model import State
from app.registry.page_queries import OrderBy, page
from bench.support import Server, heading, machine, parser, private_server, report, scratch

FILL: Final = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, features,
                               created_by, created_at)
SELECT id, 'Firm ' || md5(n::text), 'bf_' || id,
       CASE n % 8 WHEN 3 THEN 'suspended' WHEN 5 THEN 'deleted' ELSE 'active' END, 1 + n / 3 % 3,
       (ARRAY['basic', 'standard', 'premium', 'enterprise'])[1 + n / 7 % 4],
       CASE n % 2 WHEN 0 THEN '{ai_insights}' ELSE '{}' END::text[], 'bench',
       timestamptz '2025-01-01' + (hashint4(n) % 1000000) * interval '1 second'
  FROM (SELECT n, 'tenant_' || lpad(n::text, 6, '0') AS id FROM generate_series($1::integer, $2::integer) AS n) AS s
"""
_CLONE: Final = "SELECT format('CREATE DATABASE %I TEMPLATE %I OWNER bf_migrator', $1::text, $2::text)"
_ORDERS: Final[tuple[OrderBy, ...]] = ("id", "-id", "name", "-name", "created_at", "-created_at")
_FILTERS: Final[dict[str, dict[str, Any]]] = {
    "none": {},
    "state": {"state": State.ACTIVE},
    "state=deleted": {"state": State.DELETED},
    "tier": {"tier": "premium"},
    "schema_version": {"schema_version": 2},
    "feature": {"feature": "ai_insights"},
}
_SEARCHES: Final = ("tenant", "firm", "aaa", "0123", "nothing", "tenant_050", "firm 12ab")
_NOTHING: Final[dict[str, Any]] = dict.fromkeys(
    ("state", "tier", "contains", "feature", "schema_version", "after"), None
)


async def _shortest(conns: Sequence[Connection], runs: int, **wanted: Any) -> list[float]:
    """Milliseconds, of each connection; by turns, as the machine's speed drifts."""
    taken: list[list[float]] = [[] for _ in conns]
    for _ in range(runs):
        for conn, times in zip(conns, taken, strict=True):
            begun = time.perf_counter()
            await page(conn, **{**_NOTHING, "limit": 101, **wanted})
            times.append((time.perf_counter() - begun) * 1000)
    return [min(times) for times in taken]


async def _filled(server: Server, rows: int) -> Connection:
    """To a database of its own, with so many tenants."""
    template, name = server.dsn.rpartition("/")[2], f"rows_{rows}"
    admin = await asyncpg.connect(f"{server.superuser_dsn.rpartition('/')[0]}/postgres")
    await admin.execute(await admin.fetchval(_CLONE, name, template))
    await admin.close()
    conn = await asyncpg.connect(f"{server.dsn.rpartition('/')[0]}/{name}")
    await conn.execute(FILL, 1, rows)
    await conn.execute("ANALYZE bf_control.tenant")
    await conn.execute("ANALYZE bf_control.listed_feature")
    return conn


async def _measure(server: Server, *, rows: int, runs: int) -> dict[str, Any]:
    conns = [await _filled(server, 1000), await _filled(server, rows)]
    lists = {
        f"{name} by {order}": await _shortest(conns, runs, order_by=order, **wanted)
        for name, wanted in _FILTERS.items()
        for order in _ORDERS
    }
    few, many = ({name: taken[which] for name, taken in lists.items()} for which in (0, 1))
    conn = conns[1]
    search = {
        f"{words!r} by {order}": (await _shortest([conn], runs, order_by=order, contains=words))[0]
        for words in _SEARCHES
        for order in _ORDERS
    }
    version = await conn.fetchval("SHOW server_version")
    for opened in conns:
        await opened.close()
    ratios = {name: many[name] / few[name] for name in few}
    return {
        "machine": machine(), "server_version": version, "rows": rows, "ms_of_1000": few, "ms_of_many": many,
        "ratios": ratios, "search_ms": search,
    }  # fmt: skip


def main(arguments: Sequence[str]) -> None:
    options = parser(__doc__).parse_args(arguments)
    rows, runs = (2000, 3) if options.quick else (100_000, 200)
    with scratch() as directory, private_server(directory, options.bin_dir) as server:
        result = asyncio.run(_measure(server, rows=rows, runs=runs))
    lines = [heading(result), f"100 tenants out of {rows} against out of 1000, ms, and the ratio (target: 1.3):"]
    for name, ratio in result["ratios"].items():
        lines.append(f"  {name:32} {result['ms_of_1000'][name]:7.2f} {result['ms_of_many'][name]:7.2f} {ratio:6.2f}")
    lines.append(f"Searches among {rows}, ms (target: 20):")
    lines += [f"  {name:32} {taken:7.2f}" for name, taken in result["search_ms"].items()]
    report(result, lines, as_json=options.json)
