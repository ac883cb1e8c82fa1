"""Tenants with rows, and who writes them."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import asyncpg
import pytest

COUNTERS = "SELECT limit_name, used FROM bf_control.usage_counter WHERE tenant_id = $1 ORDER BY limit_name"
EVENTS = """
SELECT limit_name, percentage, used, allowed FROM bf_control.usage_event WHERE tenant_id = $1 ORDER BY id
"""
SCENARIO = """
INSERT INTO scenarios (id, scenario_name, scenario_type, time_horizon_months, scenario_start_date, scenario_end_date)
VALUES ($1, 'S', 'base', 12, '2025-01-01', '2025-12-31')
"""
CONTEXT = "SELECT bf_shared.set_tenant_context($1, 'u1')"
BUDGETS = """
INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
SELECT $1::text || n, 'B', 'annual', 2025, '2025-01-01', '2025-12-31' FROM generate_series(1, $2::integer) AS n
"""
FORECAST = """
INSERT INTO forecasts (id, forecast_name, forecast_type, forecast_method, forecast_horizon_months, base_period_start,
                       base_period_end, forecast_period_start, forecast_period_end)
VALUES ($1, 'F', 'revenue', 'linear', $2, '2024-01-01', '2024-12-31', '2025-01-01', '2025-12-31')
"""
LINES = """
INSERT INTO budget_lines (id, budget_id, line_number, line_description, line_category, line_type, account_code,
                          period_start, period_end, budgeted_amount)
SELECT $1::text || n, 'b1', n, 'L', 'c', 'expense', '4000', '2025-01-01', '2025-12-31', 1
  FROM generate_series(1, $2::integer) AS n
"""


@asynccontextmanager
async def working(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> AsyncIterator[asyncpg.Connection]:
    """A transaction in the tenant's context; `conn` is an application's."""
    async with conn.transaction():
        await conn.execute(CONTEXT, tenant_id)
        yield conn


async def used(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> dict[str, int]:
    """Counters that are not 0."""
    return {row[0]: row[1] for row in await conn.fetch(COUNTERS, tenant_id) if row[1]}


async def events(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> list[tuple[object, ...]]:
    return [tuple(row) for row in await conn.fetch(EVENTS, tenant_id)]


async def set_limits(conn: asyncpg.Connection, values: str, tenant_id: str = "acme_corp") -> None:
    """As the guide does it."""
    await conn.execute("UPDATE bf_shared.tenant_config SET usage_limits = $1 WHERE tenant_id = $2", values, tenant_id)


@contextmanager
def over(*words: str) -> Iterator[None]:
    """The transaction goes over a limit: one SQLSTATE, and a message that has `words`."""
    with pytest.raises(asyncpg.PostgresError) as refused:
        yield
    assert refused.value.sqlstate == "BF001"
    for word in words:
        assert word in str(refused.value)
