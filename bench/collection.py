"""CPU seconds of a full collection, its longest transaction, and both as tenants grow.

first   the first look at tenants that were never looked at: every table's and index's size is measured
again   a look at everything once a day: the same, over rows that are there
steady  a look at a fleet of which nothing changed since

CPU is of this process and of every process of the server, so of autovacuum's too while it lasts. The pauses between
slices are left out. The server is private to the run, as durable as PostgreSQL's defaults make it; nothing is asserted.

    python -m bench collection                       # 100, 300, 1,000 and 3,000 tenants
    python -m bench collection --tenants 100 1000 --bin-dir /usr/lib/postgresql/15/bin --json
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import asyncpg

from app.collect.collector import Collecting, Plan
from app.collect.history_queries import Retention
from app.collect.model import Collector
from app.db.pool import Connection, Database
from app.db.pools import collecting_database
from app.settings import Settings
from bench import proc, support

_DAY: Final = timedelta(days=1)
_OLD: Final = "UPDATE bf_control.schema_snapshot SET measured_at = '-infinity'"


@dataclass(slots=True)
class _Timed:
    """A database whose longest transaction is known."""

    database: Database
    longest: float = 0.0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.database.transaction() as conn:
            begun = time.perf_counter()
            yield conn
            self.longest = max(self.longest, time.perf_counter() - begun)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        async with self.database.connection() as conn:
            yield conn

    async def renew(self) -> None:
        await self.database.renew()


async def _make(conn: asyncpg.Connection, first: int, last: int) -> None:
    for number in range(first, last):
        await conn.execute("SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')", f"t{number:05}")


def _cpu(postmaster: int) -> float:
    """Of this process and the server's: those of its processes that have ended are its own, once it has noticed."""
    own = time.process_time()
    return own + proc.cpu_seconds(postmaster) + sum(proc.cpu_seconds(pid) for pid in proc.children(postmaster))


async def _collect(server: support.Server) -> dict[str, float]:
    """One round of every collector."""
    settings = Settings.model_validate({"DATABASE_URL": server.dsn})
    every = {collector: timedelta(0) for collector in Collector}
    plan = Plan(every=every, retention=Retention(minutes=_DAY, hours=_DAY, days=_DAY))
    begun, clock = _cpu(server.postmaster), time.perf_counter()
    async with collecting_database(settings) as database:
        timed = _Timed(database)
        await Collecting(timed, plan, pause=0).collect()  # type: ignore[arg-type]
    await asyncio.sleep(0.2)  # its server process ends
    return {
        "cpu_s": round(_cpu(server.postmaster) - begun, 2),
        "seconds": round(time.perf_counter() - clock - 0.2, 2),
        "longest_transaction_s": round(timed.longest, 3),
    }


async def _measure(server: support.Server, tenants: Sequence[int]) -> dict[str, Any]:
    conn = await asyncpg.connect(server.dsn)
    result: dict[str, Any] = {"server_version": await conn.fetchval("SHOW server_version"), "at": {}}
    made = 0
    for wanted in tenants:
        await _make(conn, made, wanted)
        made = wanted
        for table in ("schema_snapshot", "table_snapshot", "index_snapshot", "size_history"):
            await conn.execute(f"TRUNCATE bf_control.{table}")
        found = {"first": await _collect(server)}
        await conn.execute(_OLD)
        found["again"] = await _collect(server)
        found["steady"] = await _collect(server)
        assert await conn.fetchval("SELECT count(*) FROM bf_control.schema_snapshot WHERE intact") == wanted
        result["at"][wanted] = found
    await conn.close()
    return result


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [support.heading(result), "", f"{'tenants':>8}{'':>8}{'CPU s':>8}{'ms/tenant':>11}{'longest s':>11}"]
    for tenants, found in result["at"].items():
        for name, row in found.items():
            each = row["cpu_s"] * 1000 / tenants
            lines.append(f"{tenants:>8}{name:>8}{row['cpu_s']:>8}{each:>11.2f}{row['longest_transaction_s']:>11}")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = support.parser(__doc__)
    parser.add_argument("--tenants", type=int, nargs="+", default=[100, 300, 1000, 3000], help="growing numbers")
    options = parser.parse_args(arguments)
    if options.quick:
        options.tenants = [2, 4]
    if sorted(options.tenants) != options.tenants:
        sys.exit("--tenants must grow")
    os.environ.pop("DATABASE_URL", None)
    with support.scratch() as root, support.private_server(root / "server", options.bin_dir) as server:
        measured = asyncio.run(_measure(server, options.tenants))
    result = {"machine": support.machine(), **measured}
    support.report(result, _lines(result), as_json=options.json)
