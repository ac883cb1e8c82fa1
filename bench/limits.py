"""What counting rows costs who writes them, against the same tables without triggers, on one server in one run.

Three measures, each a ratio:

bulk       One INSERT of --lines budget lines, as the application role in its tenant's context, COMMIT included:
           in a tenant as it is, against one whose usage triggers are dropped. Taken in turn, and which goes first
           changes from pair to pair. The rows go by DELETE and VACUUM between them.
singles    As many INSERTs of one line each, sent one by one over asyncpg in one transaction.
provision  `SELECT setup_tenant(...)` with the statements of the migration that counts rows, against the same without
           them; the latter are taken out of bf_control.tenant_statement for its turn.

The server is private to the run and as durable as PostgreSQL's defaults make it. Nothing is asserted.

    python -m bench limits                       # embedded PostgreSQL, about three minutes
    python -m bench limits --bin-dir /usr/lib/postgresql/15/bin --json
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from bench import support

_CONTEXT: Final = "SELECT bf_shared.set_tenant_context($1, 'bench')"
_BUDGET: Final = """
INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
VALUES ('b', 'Bench', 'annual', 2025, '2025-01-01', '2025-12-31')
"""
_COLUMNS: Final = """id, budget_id, line_number, line_description, line_category, line_type, account_code,
    period_start, period_end, budgeted_amount"""
_BULK: Final = f"""
INSERT INTO budget_lines ({_COLUMNS})
SELECT 'l' || n, 'b', n, 'Line', 'c', 'expense', '4000', '2025-01-01', '2025-12-31', 1 FROM generate_series(1, $1) AS n
"""  # noqa: S608
_SINGLE: Final = f"""
INSERT INTO budget_lines ({_COLUMNS})
VALUES ('l' || $1::integer, 'b', $1, 'Line', 'c', 'expense', '4000', '2025-01-01', '2025-12-31', 1)
"""  # noqa: S608
_TRIGGERS: Final = """
SELECT format('DROP TRIGGER %I ON %s', g.tgname, g.tgrelid::regclass) FROM pg_trigger g
 WHERE g.tgrelid IN (SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'bf_without'::regnamespace)
   AND g.tgname LIKE 'usage_%'
"""
_TAKE_OUT: Final = """
WITH taken AS (DELETE FROM bf_control.tenant_statement s
                WHERE s.statement LIKE '%bf_control.usage_%' RETURNING s.*)
INSERT INTO pg_temp.taken SELECT * FROM taken
"""
_PUT_BACK: Final = "INSERT INTO bf_control.tenant_statement SELECT * FROM pg_temp.taken"


def main(arguments: Sequence[str]) -> None:
    parser = support.parser(__doc__)
    parser.add_argument("--lines", type=int, default=10_000, help="rows a transaction (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=15, help="pairs of each measure (default: %(default)s)")
    options = parser.parse_args(arguments)
    if options.quick:
        options.lines, options.pairs = 100, 2
    with support.scratch() as directory, support.private_server(Path(directory), options.bin_dir) as server:
        result = uvloop.run(_measure(server, lines=options.lines, pairs=options.pairs))
    support.report(result, _lines(result), as_json=options.json)


async def _measure(server: support.Server, *, lines: int, pairs: int) -> dict[str, Any]:
    owner = await asyncpg.connect(server.superuser_dsn)
    application = await asyncpg.connect(server.superuser_dsn)
    try:
        for tenant_id in ("with_it", "without"):
            await owner.execute("SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')", tenant_id)
        for row in await owner.fetch(_TRIGGERS):
            await owner.execute(row[0])
        await application.execute("SET ROLE app_role")
        for tenant_id in ("with_it", "without"):
            async with application.transaction():
                await application.execute(_CONTEXT, tenant_id)
                await application.execute(_BUDGET)
        measures = {
            "bulk": await _pairs(owner, application, pairs, lines, _bulk),
            "singles": await _pairs(owner, application, pairs, lines, _singles),
            "provision": await _provision(owner, pairs * 4),
        }
        version = await owner.fetchval("SHOW server_version")
    finally:
        await application.close()
        await owner.close()
    return {
        "server_version": version,
        "machine": support.machine(),
        "lines": lines,
        "measures": {name: _summary(taken) for name, taken in measures.items()},
    }


async def _bulk(conn: asyncpg.Connection, lines: int) -> None:
    await conn.execute(_BULK, lines)


async def _singles(conn: asyncpg.Connection, lines: int) -> None:
    for number in range(1, lines + 1):
        await conn.execute(_SINGLE, number)


async def _pairs(
    owner: asyncpg.Connection, application: asyncpg.Connection, pairs: int, lines: int, insert: Any
) -> list[tuple[float, float]]:
    """Milliseconds with the triggers and without, pair by pair; the first, which warms up, does not count."""
    taken = []
    for number in range(pairs + 1):
        spent = {}
        for tenant_id in ("with_it", "without") if number % 2 else ("without", "with_it"):
            begun = time.perf_counter()
            async with application.transaction():
                await application.execute(_CONTEXT, tenant_id)
                await insert(application, lines)
            spent[tenant_id] = (time.perf_counter() - begun) * 1000
            async with application.transaction():
                await application.execute(_CONTEXT, tenant_id)
                await application.execute("DELETE FROM budget_lines")
            await owner.execute("VACUUM bf_with_it.budget_lines, bf_without.budget_lines, bf_control.usage_delta")
        taken.append((spent["with_it"], spent["without"]))
    return taken[1:]


async def _provision(owner: asyncpg.Connection, pairs: int) -> list[tuple[float, float]]:
    """Milliseconds with the migration and without, pair by pair."""
    await owner.execute("CREATE TEMP TABLE taken (LIKE bf_control.tenant_statement)")
    taken = []
    for number in range(pairs + 1):
        spent = {}
        for counting in (True, False) if number % 2 else (False, True):
            if not counting:
                await owner.execute(_TAKE_OUT)
            begun = time.perf_counter()
            await owner.execute("SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')", f"p{number}_{counting:d}")
            spent[counting] = (time.perf_counter() - begun) * 1000
            if not counting:
                await owner.execute(_PUT_BACK)
                await owner.execute("TRUNCATE pg_temp.taken")
        taken.append((spent[True], spent[False]))
    return taken[1:]


def _summary(taken: list[tuple[float, float]]) -> dict[str, float]:
    """Medians; the ratio is the median of the pairs' own."""
    return {
        "pairs": len(taken),
        "with_ms": round(support.median(first for first, _ in taken), 1),
        "without_ms": round(support.median(second for _, second in taken), 1),
        "ratio": round(support.median(first / second for first, second in taken), 3),
    }


def _lines(result: dict[str, Any]) -> list[str]:
    lines = [support.heading(result), f"{result['lines']} lines"]
    for name, found in result["measures"].items():
        lines.append(
            f"{name:<10} {found['with_ms']:>9.1f} ms with, {found['without_ms']:>9.1f} without: {found['ratio']:.3f}"
            f" ({found['pairs']:.0f} pairs)"
        )
    return lines
