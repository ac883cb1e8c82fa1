"""A change with its row in the audit trail against the same change without, and what sealing costs.

Without: in the same process, on the same connection, the row is not inserted; nothing else differs. The change is what
PATCH /v1/tenants/{id} and /config do below HTTP, each in a transaction of its own, one after the other; blocks of both
alternate, and the ratio is the median over pairs of blocks. The trail holds so many rows before it begins.

change      Milliseconds, with and without. Wanted: at most 10 percent more.
seal        Microseconds for a row, and rows a second, of one sealer; and what verifying them takes.
page        Milliseconds of the newest 50 rows, by each filter.

    python -m bench audit                        # about two minutes
    python -m bench audit --rows 1000000
"""

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest import mock

import asyncpg

from app.audit import queries, sealer, verify
from app.audit.model import Origin
from app.audit.queries import Filter
from app.config import service as config
from app.db.pool import Database
from app.db.pools import ddl_database
from app.registry import service as registry
from app.settings import Settings
from app.tenants import changes
from bench import support

_FILL: Final = """
INSERT INTO bf_control.audit (actor, role, source_address, request_id, action, target, outcome, before, after)
SELECT 'key:' || n % 500, 'operator', '192.0.2.7', 'request-' || n, 'tenant.change', 'tenant/t' || n % 1000,
       CASE WHEN n % 1000 = 0 THEN 'denied' ELSE 'succeeded' END,
       jsonb_build_object('tenant_name', 'Before ' || n), jsonb_build_object('tenant_name', 'After ' || n)
  FROM generate_series(1, $1::integer) AS n
"""
_ORIGIN: Final = Origin(actor="key:bench", role="operator", request_id="bench", source_address="192.0.2.7")
_PAGES: Final = {
    "all": Filter(),
    "actor": Filter(actor="key:3"),
    "tenant": Filter(tenant_id="t3"),
    "outcome": Filter(outcome="denied"),
    "request": Filter(request_id="request-77"),
    "actor and tenant": Filter(actor="key:3", tenant_id="t3"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    rows: int
    block: int
    blocks: int
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="in the trail before (default: %(default)s)")
    parser.add_argument("--block", type=int, default=100, help="changes of a block (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=20, help="blocks of each (default: %(default)s)")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(rows=1000, block=5, blocks=2)
    return Options(**named), as_json


# a change --------------------------------------------------------------------------------------------


@contextmanager
def _unaudited() -> Iterator[None]:
    async def nothing(*_: Any, **__: Any) -> None: ...

    with mock.patch.object(queries, "insert", nothing):
        yield


async def _rename(database: Database, number: int) -> None:
    async with database.transaction() as conn:
        tenant = await registry.require(conn, "acme", lock=True)
        await changes.change(conn, tenant, {"tenant_name": f"Name {number}"}, origin=_ORIGIN)


async def _configure(database: Database, number: int) -> None:
    async with database.transaction() as conn:
        tenant = await registry.require(conn, "acme", lock=True)
        before = await config.require(conn, "acme")
        await config.merge(conn, tenant, before, {"cost_centers": [f"c{number}"]}, origin=_ORIGIN)


_CHANGES: Final = {"name": _rename, "configuration": _configure}


async def _block(database: Database, change: Any, size: int, begin: int) -> float:
    """Milliseconds of one."""
    started = time.perf_counter()
    for number in range(begin, begin + size):
        await change(database, number)
    return (time.perf_counter() - started) * 1000 / size


async def _compare(database: Database, change: Any, options: Options) -> dict[str, float]:
    pairs: list[tuple[float, float]] = []
    done = 0
    for _ in range(options.blocks + 1):  # the first warms up
        audited = await _block(database, change, options.block, done)
        with _unaudited():
            plain = await _block(database, change, options.block, done + options.block)
        done += 2 * options.block
        pairs.append((audited, plain))
    return {
        "audited_ms": support.median(a for a, _ in pairs[1:]),
        "plain_ms": support.median(p for _, p in pairs[1:]),
        "more_percent": 100 * (support.median(a / p for a, p in pairs[1:]) - 1),
    }


# the chain, and pages --------------------------------------------------------------------------------


async def _chain(database: Database) -> dict[str, float]:
    started = time.perf_counter()
    rows = await sealer.seal(database)
    sealed = time.perf_counter() - started
    started = time.perf_counter()
    verified = await verify.verify(database, anchors=None)
    seconds = time.perf_counter() - started
    assert verified.ok, verified.bad
    return {
        "rows": rows,
        "seal_us": sealed * 1e6 / rows,
        "sealed_per_s": rows / sealed,
        "verify_us": seconds * 1e6 / verified.rows,
        "verified_per_s": verified.rows / seconds,
    }


async def _pages(database: Database) -> dict[str, float]:
    found = {}
    for name, wanted in _PAGES.items():
        times = []
        for _ in range(7):
            started = time.perf_counter()
            async with database.connection() as conn:
                await queries.page(conn, wanted, after=None, limit=51)
            times.append((time.perf_counter() - started) * 1000)
        found[name] = support.median(times)
    return found


async def measure(dsn: str, options: Options) -> dict[str, Any]:
    conn = await asyncpg.connect(dsn)
    await conn.execute("SELECT bf_shared.setup_tenant('acme', 'ACME', 'bench')")
    for begin in range(0, options.rows, 100_000):
        await conn.execute(_FILL, min(100_000, options.rows - begin))
    await conn.execute("VACUUM ANALYZE bf_control.audit")
    version: str = await conn.fetchval("SHOW server_version")
    await conn.close()
    async with ddl_database(Settings.model_validate({"DATABASE_URL": dsn}), application_name="bench") as database:
        chain = await _chain(database)
        return {
            "machine": support.machine(),
            "server_version": version,
            "changes": {name: await _compare(database, change, options) for name, change in _CHANGES.items()},
            "chain": chain,
            "pages": await _pages(database),
        }


def lines(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    for name, found in result["changes"].items():
        told = f"{found['audited_ms']:.2f} ms with its row, {found['plain_ms']:.2f} without"
        yield f"change of {name}: {told}: {found['more_percent']:+.1f} %"
    chain = result["chain"]
    yield f"seal: {chain['seal_us']:.1f} us a row, {chain['sealed_per_s']:.0f} a second, {chain['rows']} rows"
    yield f"verify: {chain['verify_us']:.1f} us a row, {chain['verified_per_s']:.0f} a second"
    for name, milliseconds in result["pages"].items():
        yield f"page by {name}: {milliseconds:.2f} ms"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    with support.scratch() as directory, support.private_server(directory / "data", options.bin_dir) as server:
        result = asyncio.run(measure(server.dsn, options))
    support.report(result, lines(result), as_json=as_json)
