"""What BF_TENANT_ROLES costs, against the same database without, on one server in one run; and the isolation check.

Measures:

provision  `SELECT setup_tenant(...)` with a role for the tenant, against without; the setting changes from one to the
           other in turn, and which goes first changes from pair to pair.
query      A transaction of one application, with its context and a SELECT of one budget by its key: as a member of
           acme's role, against as a member of the application role. In turn, as above.
check      The isolation check over all tenants that are there by then, and over --tenants of them.

The server is private to the run and as durable as PostgreSQL's defaults make it. Nothing is asserted.

    python -m bench tenant_roles                 # embedded PostgreSQL, some minutes
    python -m bench tenant_roles --tenants 1000 --bin-dir /usr/lib/postgresql/15/bin --json
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from app.db.pool import Database
from app.isolation import service
from app.schema.script import Target
from bench import support

_SWITCH: Final = "UPDATE bf_control.setting SET value = $1 WHERE name = 'tenant_roles'"
_BUDGET: Final = """
INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
VALUES ('b', 'Bench', 'annual', 2025, '2025-01-01', '2025-12-31')
"""


def main(arguments: Sequence[str]) -> None:
    parser = support.parser(__doc__)
    parser.add_argument("--tenants", type=int, default=1000, help="tenants that are checked (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=60, help="pairs of each measure (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.quick:
        options.tenants, options.pairs = 10, 2
    with support.scratch() as directory, support.private_server(Path(directory), options.bin_dir) as server:
        result = uvloop.run(_measure(server, tenants=options.tenants, pairs=options.pairs))
    support.report(result, _lines(result), as_json=options.json)


async def _measure(server: support.Server, *, tenants: int, pairs: int) -> dict[str, Any]:
    owner = await asyncpg.connect(server.superuser_dsn)
    try:
        await owner.execute("SELECT bf_control.use_tenant_roles(true)")
        provision = await _provision(owner, pairs)
        query = await _query(owner, server, pairs * 50)
        there = await owner.fetchval("SELECT count(*) FROM bf_control.tenant")
        for number in range(tenants - there):
            await owner.execute("SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')", f"c{number}")
        checks = await _checks(server)
        version = await owner.fetchval("SHOW server_version")
    finally:
        await owner.close()
    return {
        "server_version": version,
        "machine": support.machine(),
        "measures": {"provision": _summary(provision), "query": _summary(query)},
        "check": checks,
    }


async def _provision(owner: asyncpg.Connection, pairs: int) -> list[tuple[float, float]]:
    """Milliseconds with the role and without, pair by pair; the first, which warms up, does not count."""
    taken = []
    for number in range(pairs + 1):
        spent = {}
        for wanted in ("true", "false") if number % 2 else ("false", "true"):
            await owner.execute(_SWITCH, wanted)
            begun = time.perf_counter()
            await owner.execute("SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')", f"p{number}_{wanted}")
            spent[wanted] = (time.perf_counter() - begun) * 1000
        taken.append((spent["true"], spent["false"]))
    await owner.execute(_SWITCH, "true")
    return taken[1:]


async def _query(owner: asyncpg.Connection, server: support.Server, pairs: int) -> list[tuple[float, float]]:
    """Milliseconds of a transaction with the tenant's role and with the application's."""
    await owner.execute("SELECT bf_shared.setup_tenant('acme', 'Bench', 'bench')")
    users = {}
    for name, role in (("own", await owner.fetchval("SELECT bf_control.tenant_role('acme')")), ("app", "app_role")):
        users[name] = await asyncpg.connect(server.superuser_dsn)
        await users[name].execute(await owner.fetchval("SELECT format('SET ROLE %I', $1::text)", role))
    async with users["app"].transaction():
        await users["app"].execute("SELECT bf_shared.set_tenant_context('acme', 'bench')")
        await users["app"].execute(_BUDGET)
    taken = []
    for number in range(pairs + 1):
        spent = {}
        for name in ("own", "app") if number % 2 else ("app", "own"):
            begun = time.perf_counter()
            async with users[name].transaction():
                await users[name].execute("SELECT bf_shared.set_tenant_context('acme', 'bench')")
                assert await users[name].fetchval("SELECT count(*) FROM budgets WHERE id = 'b'") == 1
            spent[name] = (time.perf_counter() - begun) * 1000
        taken.append((spent["own"], spent["app"]))
    for user in users.values():
        await user.close()
    return taken[1:]


async def _checks(server: support.Server) -> dict[str, float]:
    """Milliseconds, the median of three, of the whole check without its pauses."""
    async with Database(server.superuser_dsn, max_size=2, statement_cache=False) as database:
        reports = [await service.check(database, Target(tenant_roles=True)) for _ in range(3)]
    return {
        "tenants": reports[0].tenants,
        "ms": support.median(report.duration_ms for report in reports),
        "faults_that_open": sum(fault.opens for fault in reports[0].faults),
    }


def _summary(taken: list[tuple[float, float]]) -> dict[str, float]:
    """Medians; the ratio is the median of the pairs' own."""
    return {
        "pairs": len(taken),
        "with_ms": round(support.median(first for first, _ in taken), 3),
        "without_ms": round(support.median(second for _, second in taken), 3),
        "ratio": round(support.median(first / second for first, second in taken), 3),
    }


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [support.heading(result)]
    for name, found in result["measures"].items():
        lines.append(
            f"{name:<10} {found['with_ms']:>9.3f} ms with, {found['without_ms']:>9.3f} without: {found['ratio']:.3f}"
            f" ({found['pairs']:.0f} pairs)"
        )
    check = result["check"]
    return [*lines, f"check      {check['ms']:>9.0f} ms over {check['tenants']} tenants"]
