"""Milliseconds of verifying one tenant among many, and of the bare query of fingerprints, in turn."""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import asyncpg

from app.db.pool import Database
from app.schema import catalogue, files
from app.schema.expected import ExpectedTenants
from app.tenants import verifying
from bench import support


async def _make(conn: asyncpg.Connection, first: int, last: int) -> None:
    for number in range(first, last):
        await conn.execute("SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')", f"t{number:05}")


async def _measure(dsn: str, options: argparse.Namespace) -> dict[str, Any]:
    conn = await asyncpg.connect(dsn)
    result: dict[str, Any] = {"server_version": await conn.fetchval("SHOW server_version"), "at": {}}
    async with Database(dsn, max_size=2) as database:
        expected, made = ExpectedTenants(database, files.migrations()), 0
        for tenants in options.tenants:
            await _make(conn, made, tenants)
            made = tenants
            result["at"][tenants] = await _at(database, expected, tenants, options.rounds)
    await conn.close()
    return result


async def _at(database: Database, expected: ExpectedTenants, tenants: int, rounds: int) -> dict[str, float]:
    bare: list[float] = []
    whole: list[float] = []
    for number in range(rounds + 10):
        tenant_id = f"t{number * 7919 % tenants:05}"
        begun = time.perf_counter()
        async with database.transaction() as conn:
            await catalogue.fingerprints(conn, f"bf_{tenant_id}")
        between = time.perf_counter()
        verdict = await verifying.verify(database, expected, tenant_id)
        ended = time.perf_counter()
        assert verdict.found.difference.ok
        if number >= 10:  # the first ones plan, and build what is expected
            bare.append((between - begun) * 1000)
            whole.append((ended - between) * 1000)
    return {
        "bare_ms": round(support.median(bare), 2),
        "verify_ms": round(support.median(whole), 2),
        "verify_p95_ms": round(support.p95(whole), 2),
        "ratio": round(support.median(whole) / support.median(bare), 2),
    }


def _table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield ""
    yield f"{'tenants':>8}{'fingerprints':>14}{'verify':>9}{'p95':>9}{'ratio':>7}"
    for tenants, row in result["at"].items():
        yield f"{tenants:>8}{row['bare_ms']:>14}{row['verify_ms']:>9}{row['verify_p95_ms']:>9}{row['ratio']:>7}"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = support.parser(__doc__)
    parser.add_argument("--tenants", type=int, nargs="+", default=[10, 1000], help="growing numbers of tenants")
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args(arguments)
    if options.quick:
        options.tenants, options.rounds = [2, 4], 5
    if sorted(options.tenants) != options.tenants:
        sys.exit("--tenants must grow")
    with support.scratch() as root, support.private_server(root / "server", options.bin_dir) as server:
        result = {"machine": support.machine(), **asyncio.run(_measure(server.dsn, options))}
    support.report(result, _table(result), as_json=options.json)
