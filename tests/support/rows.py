"""A tenant with rows in every table, and what they sum up to."""

from typing import Any

import asyncpg

from app.backups import queries
from app.backups.model import TableSum
from app.db.pool import Database

# As the owner in the tenant's context: FORCE lets it see and write nothing otherwise.
_FILL = """
INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end,
                     ai_recommendations, workflow_state)
SELECT concat('b', n), concat(E'tab\\t line\\n back\\\\ ', n, ' ünï'), 'annual', 2026, '2026-01-01', '2026-12-31',
       '[{"a": "\\\\."}]', CASE WHEN n % 2 = 0 THEN '' END
  FROM generate_series(1, $1::integer) AS n;
"""
_LINES = """
INSERT INTO budget_lines (id, budget_id, line_number, line_description, line_category, line_type, account_code,
                          period_start, period_end, budgeted_amount)
SELECT concat('l', n), concat('b', n), n, 'Line', 'c', 't', '4000', '2026-01-01', '2026-12-31', n * 1.25
  FROM generate_series(1, $1::integer) AS n;
"""
_SCENARIOS = """
INSERT INTO scenarios (id, scenario_name, scenario_type, time_horizon_months, scenario_start_date, scenario_end_date,
                       base_budget_id)
VALUES ('s1', E'COPY x (y) FROM stdin;\\n\\\\.', 'base', 12, '2026-01-01', '2026-12-31', 'b1')
"""
_TEMPLATE = """
INSERT INTO bf_shared.budget_templates (template_id, owner_tenant_id, template_name, template_data, created_by,
                                        shared_with_tenants)
VALUES ($1, $2, 'Ours', '{}', 'tests', $3)
"""


async def fill(superuser: asyncpg.Connection, tenant_id: str = "acme_corp", *, rows: int = 20) -> None:
    """Budgets, lines and a scenario with whatever text is hard to carry; templates of its own, and shared with it."""
    async with superuser.transaction():
        await superuser.execute("SELECT bf_shared.set_tenant_context($1, 'tests')", tenant_id)
        await superuser.execute(_FILL.replace(";\n", "\n"), rows)
        await superuser.execute(_LINES.replace(";\n", "\n"), rows)
        await superuser.execute(_SCENARIOS)
        await superuser.execute(_TEMPLATE, f"own_{tenant_id}", tenant_id, [])
        await superuser.execute(_TEMPLATE, f"of_{tenant_id}", "somebody", ["another", tenant_id])


async def sums(database: Database, schema_name: str = "bf_acme_corp") -> dict[str, TableSum]:
    async with database.transaction() as conn:
        return await queries.sums(conn, schema_name)


def of(document: dict[str, Any]) -> dict[str, TableSum]:
    """Of a backup as the API shows it."""
    return {t["name"]: TableSum(rows=t["rows"], checksum=t["checksum"]) for t in document["tables"]}
