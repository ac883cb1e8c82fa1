"""What the database does by itself: contexts, defaults, triggers, policies and management functions."""

# ruff: noqa: S608 -- what is put into the statements stands in this file

import json
import re
from datetime import UTC, date, datetime
from typing import Any

import asyncpg
import pytest

from app.schema import catalogue
from app.schema.expected import ExpectedTenants
from tests.schema.expectations import TENANT_TABLES
from tests.schema.support import LONGEST, refused
from tests.support.cluster import MIGRATION_USER, Cluster
from tests.support.data import LATEST, make_tenant

JAN, DEC = date(2025, 1, 1), date(2025, 12, 31)
JAN_MOMENT = datetime(2025, 1, 1, tzinfo=UTC)
ROWS: dict[str, dict[str, Any]] = {
    "budgets": {
        "id": "b1",
        "budget_name": "Budget",
        "budget_type": "annual",
        "fiscal_year": 2025,
        "budget_period_start": JAN,
        "budget_period_end": DEC,
    },
    "forecasts": {
        "id": "f1",
        "forecast_name": "Forecast",
        "forecast_type": "revenue",
        "forecast_method": "linear",
        "forecast_horizon_months": 12,
        "base_period_start": date(2024, 1, 1),
        "base_period_end": date(2024, 12, 31),
        "forecast_period_start": JAN,
        "forecast_period_end": DEC,
    },
    "budget_lines": {
        "id": "l1",
        "budget_id": "b1",
        "line_number": 1,
        "line_description": "Line",
        "line_category": "travel",
        "line_type": "expense",
        "account_code": "4000",
        "period_start": JAN,
        "period_end": DEC,
        "budgeted_amount": 100,
    },
    "forecast_data_points": {
        "id": "p1",
        "forecast_id": "f1",
        "period_date": JAN,
        "period_type": "month",
        "period_sequence": 1,
        "forecasted_value": 10,
    },
    "variance_analysis": {
        "id": "v1",
        "analysis_name": "Analysis",
        "analysis_type": "budget",
        "analysis_period_start": JAN,
        "analysis_period_end": DEC,
        "baseline_amount": 1,
        "actual_amount": 2,
        "variance_amount": 1,
        "variance_percent": 100,
        "absolute_variance": 1,
        "variance_type": "over",
        "significance_level": "high",
    },
    "scenarios": {
        "id": "s1",
        "scenario_name": "Scenario",
        "scenario_type": "best",
        "time_horizon_months": 12,
        "scenario_start_date": JAN,
        "scenario_end_date": DEC,
    },
}
DENIED = asyncpg.InsufficientPrivilegeError
CHECKED = asyncpg.CheckViolationError


async def application(conn: asyncpg.Connection, tenant_id: str | None = "acme_corp", user: str | None = "u1") -> None:
    """From here on `conn` is an application; in a context unless `tenant_id` is None."""
    await conn.execute("SET LOCAL ROLE app_role")
    if tenant_id is not None:
        await conn.execute("SELECT bf_shared.set_tenant_context($1, $2)", tenant_id, user)


async def insert(conn: asyncpg.Connection, table: str, **others: Any) -> None:
    """Into `table`, which may be qualified."""
    row = {**ROWS[table.rpartition(".")[2]], **others}
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await conn.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def insert_all(conn: asyncpg.Connection, schema: str = "bf_acme_corp", **others: Any) -> None:
    for table in ROWS:
        await insert(conn, f"{schema}.{table}", **others)


async def count(conn: asyncpg.Connection, table: str) -> int:
    found: int = await conn.fetchval(f"SELECT count(*) FROM {table}")
    return found


# context ----------------------------------------------------------------------------------------------


async def test_the_context_lasts_for_one_transaction(cluster: Cluster, built: str) -> None:
    conn = await asyncpg.connect(cluster.superuser_dsn(built))
    settings = (
        "SELECT current_setting('app.current_tenant', true), current_setting('app.current_user_id', true), "
        "current_setting('search_path')"
    )
    async with conn.transaction():
        await conn.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'user-7')")
        assert tuple(await conn.fetchrow(settings)) == ("acme_corp", "user-7", "bf_acme_corp, bf_shared, pg_temp")
        assert await conn.fetchval("SELECT current_schemas(false)::text[]") == ["bf_acme_corp", "bf_shared"]
    assert tuple(await conn.fetchrow(settings)) == ("", "", '"$user", public')
    await conn.close()


@pytest.mark.parametrize("state", ["suspended", "deleted", "purging"])
async def test_only_an_active_tenant_has_a_context(admin: asyncpg.Connection, state: str) -> None:
    await admin.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'u')")
    await admin.execute("RESET search_path; SELECT set_config('app.current_tenant', '', true)")
    await admin.execute("UPDATE bf_control.tenant SET state = $1 WHERE tenant_id = 'acme_corp'", state)
    async with refused(admin, DENIED, "tenant 'acme_corp' is not active"):
        await admin.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'u')")
    assert await admin.fetchval("SELECT current_setting('app.current_tenant', true)") == ""


@pytest.mark.parametrize(
    "tenant_id", [None, "", "nobody", "shared", "acme_corp' OR true --", "ACME_CORP", "acme_corp "]
)
async def test_what_is_no_tenant_has_no_context(admin: asyncpg.Connection, tenant_id: str | None) -> None:
    async with refused(admin, DENIED, "is not active"):
        await application(admin, None)
        await admin.execute("SELECT bf_shared.set_tenant_context($1, 'u')", tenant_id)


@pytest.mark.parametrize("user", ["x'; DROP TABLE budgets; --", "a\\'b", 'O"Neill', "ünï", "$1 %s :x"])
async def test_any_user_name_is_kept_as_it_is(admin: asyncpg.Connection, user: str) -> None:
    await application(admin, user=user)
    await insert(admin, "budgets")
    assert tuple(await admin.fetchrow("SELECT created_by, updated_by FROM budgets")) == (user, user)


async def test_a_temporary_table_shadows_no_table_of_the_tenant(admin: asyncpg.Connection) -> None:
    await admin.execute("CREATE TEMPORARY TABLE budgets (id text); GRANT ALL ON budgets TO app_role")
    await application(admin)
    await insert(admin, "budgets")
    assert await count(admin, "bf_acme_corp.budgets") == 1
    assert await count(admin, "pg_temp.budgets") == 0


@pytest.mark.parametrize("context", [None, "", "nobody"])
async def test_without_a_context_nothing_matches_and_nothing_raises(
    admin: asyncpg.Connection, context: str | None
) -> None:
    await insert_all(admin, tenant_id="acme_corp")
    await application(admin, None)
    if context is not None:
        await admin.execute("SELECT set_config('app.current_tenant', $1, true)", context)
    for table in TENANT_TABLES:
        assert await count(admin, f"bf_acme_corp.{table}") == 0
        assert await admin.execute(f"UPDATE bf_acme_corp.{table} SET is_deleted = true") == "UPDATE 0"
        assert await admin.execute(f"DELETE FROM bf_acme_corp.{table}") == "DELETE 0"
    assert await count(admin, "bf_shared.tenant_config") == 0


async def test_in_its_context_an_application_reads_and_writes_every_table(admin: asyncpg.Connection) -> None:
    await application(admin)
    for table in ROWS:
        await insert(admin, table)
        assert await count(admin, table) == 1
        assert await admin.fetchval(f"SELECT tenant_id FROM {table}") == "acme_corp"
        assert await admin.execute(f"UPDATE {table} SET is_deleted = true") == "UPDATE 1"
    for table in reversed(ROWS):
        assert await admin.execute(f"DELETE FROM {table}") == "DELETE 1"


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_one_tenants_rows_are_out_of_anothers_reach(admin: asyncpg.Connection, table: str) -> None:
    await insert_all(admin, f"bf_{LONGEST}", tenant_id=LONGEST)
    await application(admin, "acme_corp")
    theirs = f"bf_{LONGEST}.{table}"
    assert await count(admin, theirs) == 0
    assert await admin.execute(f"UPDATE {theirs} SET deleted_by = 'me'") == "UPDATE 0"
    assert await admin.execute(f"DELETE FROM {theirs}") == "DELETE 0"
    # A policy lets a session of tenant A write a row of A into B's schema; the CHECK does not.
    async with refused(admin, CHECKED, f"{table}_tenant_check"):
        await insert(admin, theirs, id="x", tenant_id="acme_corp")
    async with refused(admin, DENIED, "row-level security"):
        await insert(admin, theirs, id="x", tenant_id=LONGEST)
    async with refused(admin, DENIED, "row-level security"):
        await insert(admin, f"bf_acme_corp.{table}", id="x", tenant_id=LONGEST)


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_the_audit_role_reads_every_row_and_writes_none(admin: asyncpg.Connection, table: str) -> None:
    await insert_all(admin, tenant_id="acme_corp")
    await admin.execute("SET LOCAL ROLE audit_role")
    assert await count(admin, f"bf_acme_corp.{table}") == 1
    for statement in (f"UPDATE bf_acme_corp.{table} SET version = 2", f"DELETE FROM bf_acme_corp.{table}"):
        async with refused(admin, DENIED):
            await admin.execute(statement)
    async with refused(admin, DENIED):
        await insert(admin, f"bf_acme_corp.{table}", id="x", tenant_id="acme_corp")


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_an_application_cannot_truncate_reference_or_add_triggers(admin: asyncpg.Connection, table: str) -> None:
    await admin.execute("CREATE SCHEMA app_own AUTHORIZATION app_role")
    await admin.execute(
        "CREATE FUNCTION app_own.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "ALTER FUNCTION app_own.f() OWNER TO app_role"
    )
    await application(admin)
    for statement in (
        f"TRUNCATE {table}",
        f"CREATE TABLE app_own.t (id varchar(36) REFERENCES bf_acme_corp.{table})",
        f"CREATE TRIGGER t BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION app_own.f()",
        f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
        f"DROP POLICY tenant_isolation_{table} ON {table}",
        "CREATE TABLE bf_acme_corp.t (id integer)",
        "CREATE TABLE bf_shared.t (id integer)",
    ):
        async with refused(admin, DENIED):
            await admin.execute(statement)


# defaults and triggers --------------------------------------------------------------------------------


async def test_who_created_and_updated_a_row(admin: asyncpg.Connection) -> None:
    by = "SELECT created_by, updated_by FROM bf_acme_corp.budgets WHERE id = $1"
    await application(admin, user="u1")
    await insert(admin, "budgets", id="by context")
    await admin.execute("SELECT set_config('app.current_user_id', '', true), set_config('app.current_user', 'o', true)")
    await insert(admin, "budgets", id="by the other name")
    await admin.execute("SELECT set_config('app.current_user', '', true)")
    await insert(admin, "budgets", id="by the database user")
    await admin.execute("SELECT bf_shared.set_tenant_context('acme_corp', NULL)")
    await insert(admin, "budgets", id="by nobody")
    await insert(admin, "budgets", id="by name", created_by="me", updated_by="you")
    for row_id, created, updated in (
        ("by context", "u1", "u1"),
        ("by the other name", "o", "o"),
        ("by the database user", "postgres", "postgres"),
        ("by nobody", "postgres", "postgres"),
        ("by name", "me", "you"),
    ):
        assert tuple(await admin.fetchrow(by, row_id)) == (created, updated), row_id


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_a_user_of_more_than_36_characters_is_refused(admin: asyncpg.Connection, table: str) -> None:
    await insert_all(admin, tenant_id="acme_corp")
    await application(admin, user="u" * 36)
    await insert(admin, table, id="fits")
    assert await admin.fetchval(f"SELECT created_by FROM {table} WHERE id = 'fits'") == "u" * 36
    async with refused(admin, asyncpg.StringDataRightTruncationError):
        await application(admin, user="u" * 37)
        await insert(admin, table, id="x")
    async with refused(admin, asyncpg.StringDataRightTruncationError):
        await insert(admin, table, id="x", created_by="u" * 37)


async def test_a_database_user_with_a_longer_name_is_cut(admin: asyncpg.Connection) -> None:
    name = "an_application_whose_name_has_more_than_36_characters"
    await admin.execute(f"CREATE ROLE {name} LOGIN; GRANT app_role TO {name}; SET LOCAL SESSION AUTHORIZATION {name}")
    await admin.execute("SELECT bf_shared.set_tenant_context('acme_corp', NULL)")
    for table in ROWS:
        await insert(admin, table)
        assert tuple(await admin.fetchrow(f"SELECT created_by, updated_by FROM {table}")) == (name[:36], name[:36])


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_an_update_counts_the_version_and_moves_updated_at(admin: asyncpg.Connection, table: str) -> None:
    await insert_all(admin, tenant_id="acme_corp", updated_at=JAN_MOMENT, created_at=JAN_MOMENT)
    await application(admin)
    row = f"SELECT version, updated_at = now(), created_at = $1 FROM {table}"
    assert tuple(await admin.fetchrow(row, JAN_MOMENT)) == (1, False, True)
    await admin.execute(f"UPDATE {table} SET is_deleted = true, deleted_by = 'u1'")
    assert tuple(await admin.fetchrow(row, JAN_MOMENT)) == (2, True, True)
    await admin.execute(f"UPDATE {table} SET version = 77, updated_at = $1", JAN_MOMENT)
    assert tuple(await admin.fetchrow(row, JAN_MOMENT)) == (3, True, True)


# table, column, values within the range, values outside
LIMITS: list[tuple[str, str, tuple[Any, ...], tuple[Any, ...]]] = [
    ("budgets", "fiscal_year", (2015, 2035), (2014, 2036)),
    ("budgets", "planning_horizon_months", (1, 60, None), (0, 61, -1)),
    ("budgets", "budget_period_end", (date(2025, 1, 2),), (JAN, date(2024, 1, 1))),
    ("budget_lines", "period_end", (date(2025, 1, 2),), (JAN, date(2024, 1, 1))),
    ("budget_lines", "exchange_rate", (0.000001, None), (0, -1)),
    ("forecasts", "forecast_horizon_months", (1, 60), (0, 61)),
    ("forecasts", "forecast_period_start", (JAN,), (date(2024, 12, 31), date(2024, 1, 1))),
    ("forecasts", "historical_months_used", (3, 120, None), (2, 121)),
    ("forecast_data_points", "fiscal_quarter", (1, 4, None), (0, 5)),
    ("forecast_data_points", "fiscal_month", (1, 12, None), (0, 13)),
    ("variance_analysis", "analysis_period_end", (date(2025, 1, 2),), (JAN, date(2024, 1, 1))),
    ("scenarios", "time_horizon_months", (1, 60), (0, 61)),
    ("scenarios", "scenario_end_date", (date(2025, 1, 2),), (JAN, date(2024, 1, 1))),
    ("scenarios", "simulation_iterations", (100, 100_000, None), (99, 100_001)),
]


@pytest.mark.parametrize(("table", "column", "within", "outside"), LIMITS, ids=[f"{t}.{c}" for t, c, *_ in LIMITS])
async def test_constraints(
    admin: asyncpg.Connection, table: str, column: str, within: tuple[Any, ...], outside: tuple[Any, ...]
) -> None:
    for parent in ("budgets", "forecasts"):
        await insert(admin, f"bf_acme_corp.{parent}", tenant_id="acme_corp")
    await application(admin)
    for number, value in enumerate(within):
        await insert(admin, table, id=f"ok{number}", **{column: value})
    for value in outside:
        async with refused(admin, CHECKED):
            await insert(admin, table, id="x", **{column: value})


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("budget_lines", "budget_id"),
        ("variance_analysis", "budget_id"),
        ("scenarios", "base_budget_id"),
        ("forecast_data_points", "forecast_id"),
        ("variance_analysis", "forecast_id"),
        ("scenarios", "base_forecast_id"),
    ],
)
async def test_foreign_keys_refuse_orphans(admin: asyncpg.Connection, table: str, column: str) -> None:
    await application(admin)
    async with refused(admin, asyncpg.ForeignKeyViolationError):
        await insert(admin, table, id="x", **{column: "nobody"})


# tenant_config ----------------------------------------------------------------------------------------

# The guide's own, word for word but for the tenant.
GUIDE = {
    "features": [
        """UPDATE bf_shared.tenant_config
           SET features_enabled = '["advanced_forecasting", "ai_insights", "scenario_planning"]'
           WHERE tenant_id = 'acme_corp'""",
        """UPDATE bf_shared.tenant_config SET features_enabled = features_enabled || '["ai_forecasting"]'
           WHERE tenant_id = 'acme_corp'""",
        """UPDATE bf_shared.tenant_config SET features_enabled = '["advanced_forecasting", "ai_insights"]'
           WHERE tenant_id = 'acme_corp'""",
    ],
    "limits": [
        """UPDATE bf_shared.tenant_config SET usage_limits = '{"max_budgets": 500, "max_forecast_horizon": 36}'
           WHERE tenant_id = 'acme_corp'""",
        """UPDATE bf_shared.tenant_config SET max_budget_lines = 500000, concurrent_users_limit = 500,
           forecast_horizon_limit = 60 WHERE tenant_id = 'acme_corp'""",
    ],
    "integrations": [
        """UPDATE bf_shared.tenant_config SET apg_integrations = '{
               "auth_rbac": {"enabled": true, "endpoint": "https://auth.apg.platform"},
               "audit_compliance": {"enabled": true, "level": "detailed"},
               "ai_orchestration": {"enabled": true, "models": ["forecasting", "variance_analysis"]}}'
           WHERE tenant_id = 'acme_corp'""",
    ],
}
HISTORY = """
SELECT database_user, user_context, source, documents, before, after FROM bf_control.tenant_config_history
 WHERE tenant_id = 'acme_corp' ORDER BY id DESC LIMIT 1
"""
DOCUMENTS = "SELECT document, version FROM bf_control.tenant_document WHERE tenant_id = 'acme_corp'"


@pytest.mark.parametrize("document", GUIDE)
async def test_the_guides_updates_work_and_leave_versions_and_history(admin: asyncpg.Connection, document: str) -> None:
    await admin.execute(f"SET LOCAL SESSION AUTHORIZATION {MIGRATION_USER}")
    await admin.execute("SELECT set_config('app.current_user_id', 'ops', true)")
    versions: dict[str, int] = dict(await admin.fetch(DOCUMENTS))
    assert versions == dict.fromkeys(("tenant", "configuration", "features", "limits", "integrations"), 1)
    for number, statement in enumerate(GUIDE[document], start=2):
        assert await admin.execute(statement) == "UPDATE 1"
        assert dict(await admin.fetch(DOCUMENTS)) == {**versions, document: number}
        row = await admin.fetchrow(HISTORY)
        assert tuple(row)[:4] == (MIGRATION_USER, "ops", "sql", [document])
        before, after = json.loads(row["before"]), json.loads(row["after"])
        assert before != after
        current = await admin.fetchval(
            "SELECT to_jsonb(c) - 'updated_at' FROM bf_shared.tenant_config c WHERE tenant_id = 'acme_corp'"
        )
        assert after == json.loads(current)


async def test_setting_up_a_tenant_is_the_first_entry_of_its_history(admin: asyncpg.Connection) -> None:
    row = await admin.fetchrow(HISTORY)
    assert (row["database_user"], row["before"]) == (MIGRATION_USER, None)
    assert json.loads(row["after"])["tenant_name"] == "A tenant"


async def test_an_update_that_changes_nothing_leaves_no_trace(admin: asyncpg.Connection) -> None:
    before = await count(admin, "bf_control.tenant_config_history")
    await admin.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = max_budget_lines")
    assert await count(admin, "bf_control.tenant_config_history") == before
    assert {row["version"] for row in await admin.fetch(DOCUMENTS)} == {1}


async def test_an_update_moves_updated_at(admin: asyncpg.Connection) -> None:
    await admin.execute("UPDATE bf_shared.tenant_config SET audit_level = 'basic', updated_at = '2020-01-01'")
    assert await admin.fetchval("SELECT bool_and(updated_at = now()) FROM bf_shared.tenant_config")


async def test_the_registry_follows_the_name_and_the_tier(admin: asyncpg.Connection) -> None:
    await admin.execute("UPDATE bf_shared.tenant_config SET tenant_name = 'New', subscription_tier = 'gold'")
    row = "SELECT tenant_name, subscription_tier FROM bf_control.tenant WHERE tenant_id = 'acme_corp'"
    assert tuple(await admin.fetchrow(row)) == ("New", "gold")


async def test_is_active_follows_the_state_and_says_what_to_do_instead(admin: asyncpg.Connection) -> None:
    async with refused(admin, CHECKED, "follows its state, which is active") as info:
        await admin.execute("UPDATE bf_shared.tenant_config SET is_active = false WHERE tenant_id = 'acme_corp'")
    assert info.value.hint == "SELECT bf_shared.suspend_tenant('acme_corp');"
    for hint, state in ((info.value.hint, False), ("SELECT bf_shared.resume_tenant('acme_corp');", True)):
        await admin.execute(hint)
        active = "SELECT is_active FROM bf_shared.tenant_config WHERE tenant_id = 'acme_corp'"
        assert await admin.fetchval(active) is state
        async with refused(admin, CHECKED, "follows its state") as info:
            await admin.execute(
                "UPDATE bf_shared.tenant_config SET is_active = NOT is_active WHERE tenant_id = 'acme_corp'"
            )
    assert info.value.hint == "SELECT bf_shared.suspend_tenant('acme_corp');"


BAD_VALUES = [
    *[f"default_currency = '{code}'" for code in ("XXX", "usd", "US", "", "EU1")],
    *[f"time_zone = '{zone}'" for zone in ("Mars/Olympus", "", "Europe/Nowhere", "+02")],
    *[f"features_enabled = '{value}'" for value in ("{}", '"a"', "[1]", "[null]", '[["a"]]', '[{"a": 1}]', "null")],
    *[f"cost_centers = '{value}'" for value in ("{}", '"a"', "null", "1")],
    *[
        f"{column} = '{value}'"
        for column in (
            "budget_features",
            "forecast_features",
            "analytics_features",
            "apg_integrations",
            "external_systems",
            "department_hierarchy",
            "approval_workflows",
            "usage_limits",
        )
        for value in ("[]", "null")
    ],
    *[f"data_retention_days = {days}" for days in (0, -1)],
    *[f"forecast_horizon_limit = {months}" for months in (0, -1)],
    "max_budget_lines = -1",
    "concurrent_users_limit = -1",
    "tenant_name = ' '",
]


@pytest.mark.parametrize("assignment", BAD_VALUES)
async def test_values_out_of_shape_or_range_are_refused(admin: asyncpg.Connection, assignment: str) -> None:
    async with refused(admin, CHECKED):
        await admin.execute(f"UPDATE bf_shared.tenant_config SET {assignment} WHERE tenant_id = 'acme_corp'")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Argentina/Buenos_Aires", "UTC", "Asia/Kolkata"])
async def test_known_time_zones_and_currencies_are_taken(admin: asyncpg.Connection, zone: str) -> None:
    for code in ("EUR", "JPY", "CHF"):
        await admin.execute("UPDATE bf_shared.tenant_config SET time_zone = $1, default_currency = $2", zone, code)


@pytest.mark.parametrize("column", ["apg_integrations", "external_systems"])
@pytest.mark.parametrize(
    "document",
    [
        '{"password": "x"}',
        '{"erp": {"client_secret": "x"}}',
        '{"erp": [{"a": {"access_token": "x"}}]}',
        '{"erp": {"apiKey": "x"}}',
        '{"erp": {"API_KEY": "x"}}',
        '{"erp": {"privateKey": "x"}}',
        '{"erp": {"credentials": {}}}',
        '{"erp": {"passwd": null}}',
        '{"erp": {"clientSecret": "x"}}',
        '{"erp": {"x-api-key": "x"}}',
        '{"erp": {"url": "https://me:hidden@erp.example/"}}',
    ],
)
async def test_credentials_are_refused_wherever_they_are(admin: asyncpg.Connection, column: str, document: str) -> None:
    async with refused(admin, CHECKED, "credentials are not kept in tenant_config"):
        await admin.execute(f"UPDATE bf_shared.tenant_config SET {column} = $1", document)


async def test_an_integration_that_the_api_refuses_is_refused(admin: asyncpg.Connection) -> None:
    for document, why in (
        (
            '{"auth_rbac": {"endpoint": "https://01.2.3.4"}}',
            "/auth_rbac/endpoint: must have a valid host name, or address",
        ),
        ('{"ai_orchestration": {"models": [1]}}', "/ai_orchestration/models: must be names of models"),
        ('{"teleport": {}}', "/teleport: is no capability; there are ai_orchestration, audit_compliance"),
        ('{"auth_rbac": {"level": "detailed"}}', "/auth_rbac/level: is not allowed here"),
        ('{"auth_rbac": null}', "/auth_rbac: must be an object"),
    ):
        async with refused(admin, CHECKED, re.escape(f"apg_integrations {why}")):
            await admin.execute("UPDATE bf_shared.tenant_config SET apg_integrations = $1", document)


async def test_a_tenant_cannot_be_added_or_renamed_by_hand(admin: asyncpg.Connection) -> None:
    async with refused(admin, asyncpg.ForeignKeyViolationError, "tenant stranger is not registered"):
        await admin.execute("INSERT INTO bf_shared.tenant_config (tenant_id, tenant_name) VALUES ('stranger', 'x')")
    async with refused(admin, asyncpg.ForeignKeyViolationError, "is not registered"):
        await admin.execute("UPDATE bf_shared.tenant_config SET tenant_id = 'b' WHERE tenant_id = 'acme_corp'")


async def test_an_application_reads_its_own_configuration_and_writes_none(admin: asyncpg.Connection) -> None:
    await application(admin)
    assert [row[0] for row in await admin.fetch("SELECT tenant_id FROM tenant_config")] == ["acme_corp"]
    for statement in (
        "UPDATE bf_shared.tenant_config SET max_budget_lines = 1",
        "DELETE FROM bf_shared.tenant_config",
        "INSERT INTO bf_shared.tenant_config (tenant_id, tenant_name) VALUES ('x', 'x')",
    ):
        async with refused(admin, DENIED):
            await admin.execute(statement)


async def test_the_audit_role_reads_every_configuration(admin: asyncpg.Connection) -> None:
    await admin.execute("SET LOCAL ROLE audit_role")
    assert await count(admin, "bf_shared.tenant_config") == 2


# budget_templates and reference tables ----------------------------------------------------------------

TEMPLATE = """
INSERT INTO bf_shared.budget_templates
    (template_id, owner_tenant_id, template_name, template_data, created_by, is_public, shared_with_tenants)
VALUES ($1, $2, 'T', '{}', 'u', $3, $4)
"""
TEMPLATES = "SELECT array_agg(template_id::text ORDER BY template_id) FROM bf_shared.budget_templates"


@pytest.fixture
async def templates(admin: asyncpg.Connection) -> asyncpg.Connection:
    for name, owner, public, shared in (
        ("mine", "acme_corp", False, []),
        ("public", LONGEST, True, []),
        ("shared", LONGEST, False, ["other", "acme_corp"]),
        ("theirs", LONGEST, False, ["other"]),
    ):
        await admin.execute(TEMPLATE, name, owner, public, shared)
    return admin


async def test_an_application_sees_public_own_and_shared_templates(templates: asyncpg.Connection) -> None:
    await application(templates)
    assert await templates.fetchval(TEMPLATES) == ["mine", "public", "shared", "template_system_001"]
    await templates.execute("SELECT set_config('app.current_tenant', '', true)")
    assert await templates.fetchval(TEMPLATES) == ["public", "template_system_001"]
    await templates.execute("RESET ROLE; SET LOCAL ROLE audit_role")
    assert len(await templates.fetchval(TEMPLATES)) == 5


async def test_an_application_writes_its_own_templates_only(templates: asyncpg.Connection) -> None:
    await application(templates)
    await templates.execute(TEMPLATE, "new", "acme_corp", True, [LONGEST])
    for change in ("SET template_name = 'X'", "SET is_deleted = true"):
        assert await templates.execute(f"UPDATE budget_templates {change}") == "UPDATE 2"
    assert await templates.execute("DELETE FROM budget_templates") == "DELETE 2"
    assert await templates.fetchval(TEMPLATES) == ["public", "shared", "template_system_001"]
    for owner in (LONGEST, "shared", "nobody"):
        async with refused(templates, DENIED, "row-level security"):
            await templates.execute(TEMPLATE, "x", owner, False, [])


async def test_the_system_template_is_nobodys_to_change(admin: asyncpg.Connection) -> None:
    await admin.execute("SET LOCAL ROLE app_role")
    await admin.execute("SET LOCAL app.current_tenant = 'shared'")
    for statement in (
        "UPDATE bf_shared.budget_templates SET template_name = 'mine'",
        "DELETE FROM bf_shared.budget_templates",
    ):
        assert (await admin.execute(statement)).endswith(" 0")


async def test_a_template_cannot_be_given_away_nor_made_a_system_one(templates: asyncpg.Connection) -> None:
    await application(templates)
    async with refused(templates, DENIED, "row-level security"):
        await templates.execute("UPDATE budget_templates SET owner_tenant_id = $1", LONGEST)
    for statement in (
        "UPDATE budget_templates SET is_system = true",
        "UPDATE budget_templates SET usage_count = 1000",
        "INSERT INTO budget_templates (template_id, owner_tenant_id, template_name, template_data, created_by, "
        "is_system) VALUES ('x', 'acme_corp', 'x', '{}', 'u', true)",
        "INSERT INTO budget_templates (template_id, owner_tenant_id, template_name, template_data, created_by, "
        "usage_count) VALUES ('x', 'acme_corp', 'x', '{}', 'u', 5)",
    ):
        async with refused(templates, DENIED, "permission denied"):
            await templates.execute(statement)


@pytest.mark.parametrize("table", ["account_categories", "currency_rates", "industry_benchmarks"])
async def test_reference_tables_are_read_only_to_applications(admin: asyncpg.Connection, table: str) -> None:
    await application(admin)
    await count(admin, table)
    for statement in (f"DELETE FROM {table}", f"INSERT INTO {table} DEFAULT VALUES", f"TRUNCATE bf_shared.{table}"):
        async with refused(admin, DENIED):
            await admin.execute(statement)


async def test_reference_tables_check_their_values(admin: asyncpg.Connection) -> None:
    rate = "INSERT INTO bf_shared.currency_rates VALUES ($1, 'USD', 'EUR', $2, $3, 'system')"
    async with refused(admin, CHECKED):
        await admin.execute(rate, "r", DEC, 0)
    await admin.execute(rate, "r", DEC, 1)
    async with refused(admin, asyncpg.UniqueViolationError):
        await admin.execute(rate, "r2", DEC, 2)
    category = "INSERT INTO bf_shared.account_categories (category_id, category_code, category_name, category_type) "
    async with refused(admin, CHECKED):
        await admin.execute(category + "VALUES ('x', 'X', 'X', 'income')")
    async with refused(admin, asyncpg.UniqueViolationError):
        await admin.execute(category + "VALUES ('x', 'REV', 'X', 'revenue')")


# management functions ---------------------------------------------------------------------------------

SETUP = "SELECT bf_shared.setup_tenant($1, $2, $3)"
BAD_IDS = [
    *("shared", "control", "queue", "public", "information_schema"),
    *("pg_x", "pg_toast", "pool_1", "pool_"),
    *("", "a", "1ab", "_ab", "Acme", "ACME", "a-b", "a b", "a.b", 'a"b', "a'b", "a;b", "acme\n", "\nacme", " acme"),
    *("a\tb", "aéb", "ａｂｃ", "a‮b", "a%b", "a\\b", "{{schema}}", "a" * 37, "a" * 64, "a" * 1000),
    "x'); DROP SCHEMA bf_shared CASCADE; --",
    None,
]


@pytest.mark.parametrize("tenant_id", BAD_IDS)
async def test_reserved_overlong_and_hostile_ids_are_refused(admin: asyncpg.Connection, tenant_id: str | None) -> None:
    async with refused(admin, asyncpg.InvalidParameterValueError, "is not allowed") as info:
        await admin.execute(SETUP, tenant_id, "Name", "tests")
    assert "Two to 36 of a-z, 0-9 and _" in (info.value.hint or "")


@pytest.mark.parametrize(
    ("name", "by"),
    [("", "x"), (" \n", "x"), (None, "x"), ("n" * 256, "x"), ("n", ""), ("n", None), ("n", "x" * 37), ("n", "\t")],
)
async def test_names_and_creators_are_checked(admin: asyncpg.Connection, name: str | None, by: str | None) -> None:
    async with refused(admin, asyncpg.InvalidParameterValueError, "must have 1 to"):
        await admin.execute(SETUP, "beta", name, by)


@pytest.mark.parametrize(
    "tenant_id", ["ab", "a1", "a_", "acme_corp_usa", "global_inc", "system", "pool", "pg", "b" * 36]
)
async def test_these_ids_are_taken(admin: asyncpg.Connection, tenant_id: str) -> None:
    assert await admin.fetchval(SETUP, tenant_id, "n" * 255, "x" * 36) is True
    row = "SELECT state, schema_name, schema_version FROM bf_control.tenant WHERE tenant_id = $1"
    assert tuple(await admin.fetchrow(row, tenant_id)) == ("active", f"bf_{tenant_id}", LATEST)
    assert await admin.fetchval("SELECT is_active FROM bf_shared.tenant_config WHERE tenant_id = $1", tenant_id)


@pytest.mark.parametrize("state", ["active", "suspended", "deleted", "purging"])
async def test_a_tenant_that_exists_is_a_duplicate(admin: asyncpg.Connection, state: str) -> None:
    await admin.execute("UPDATE bf_control.tenant SET state = $1 WHERE tenant_id = 'acme_corp'", state)
    async with refused(admin, asyncpg.UniqueViolationError, f"tenant acme_corp exists already and is {state}"):
        await admin.execute(SETUP, "acme_corp", "Other", "tests")


@pytest.mark.parametrize("state", ["provisioning", "failed"])
async def test_a_tenant_that_was_asked_for_or_failed_is_built(admin: asyncpg.Connection, state: str) -> None:
    await admin.execute(
        "INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by, subscription_tier, "
        "initial_config, error) VALUES ('beta', 'Asked', 'bf_beta', $1, 'u', 'gold', $2, '{}')",
        state,
        json.dumps({"default_currency": "EUR", "usage_limits": {"max_budgets": 5}, "billing_contact": "a@b.c"}),
    )
    assert await admin.fetchval(SETUP, "beta", "Built", "tests") is True
    registered = (
        "SELECT state, schema_version, tenant_name, created_by, error FROM bf_control.tenant WHERE tenant_id = 'beta'"
    )
    assert tuple(await admin.fetchrow(registered)) == ("active", LATEST, "Built", "u", None)
    config = """
    SELECT tenant_name, subscription_tier, default_currency, usage_limits, billing_contact, max_budget_lines
      FROM bf_shared.tenant_config WHERE tenant_id = 'beta'
    """
    assert tuple(await admin.fetchrow(config)) == ("Built", "gold", "EUR", '{"max_budgets": 5}', "a@b.c", 100000)


async def test_a_foreign_schema_of_that_name_is_not_taken_over(admin: asyncpg.Connection) -> None:
    await admin.execute("CREATE SCHEMA bf_beta")
    async with refused(admin, asyncpg.DuplicateSchemaError, "schema bf_beta exists, but belongs to no tenant") as info:
        await admin.execute(SETUP, "beta", "Beta", "tests")
    assert "choose another tenant id" in (info.value.hint or "")


async def test_a_failure_leaves_nothing_of_the_tenant(admin: asyncpg.Connection) -> None:
    await admin.execute("INSERT INTO bf_control.tenant_statement VALUES (1, 9999, 'table', 'SELECT 1 / 0')")
    async with refused(admin, asyncpg.DivisionByZeroError):
        await admin.execute(SETUP, "beta", "Beta", "tests")
    assert not await admin.fetchval("SELECT EXISTS (SELECT FROM bf_control.tenant WHERE tenant_id = 'beta')")
    assert await admin.fetchval("SELECT to_regnamespace('bf_beta')") is None


@pytest.mark.parametrize("path", ["public", "pg_temp, pg_catalog", '"$user", public', "evil, pg_catalog"])
async def test_management_functions_ignore_and_keep_the_callers_search_path(
    admin: asyncpg.Connection, path: str
) -> None:
    await admin.execute(
        "CREATE SCHEMA evil; CREATE FUNCTION evil.quote_ident(text) RETURNS text LANGUAGE sql AS $$ SELECT 'evil' $$; "
        "CREATE FUNCTION evil.format(text, text) RETURNS text LANGUAGE sql AS $$ SELECT 'SELECT 1/0' $$"
    )
    await admin.execute(f"SET LOCAL search_path = {path}")
    for call in (
        "setup_tenant('beta', 'Beta', 'x')",
        "create_tenant_indexes('beta')",
        "create_tenant_rls_policies('beta')",
        "insert_default_data()",
    ):
        await admin.execute(f"SELECT bf_shared.{call}")
        assert await admin.fetchval("SELECT current_setting('search_path')") == path
    owner = "SELECT pg_get_userbyid(nspowner)::text FROM pg_namespace WHERE nspname = 'bf_beta'"
    assert await admin.fetchval(owner) == MIGRATION_USER


async def drift(admin: asyncpg.Connection, built_expected: ExpectedTenants) -> catalogue.Difference:
    async with admin.transaction():
        return await built_expected.difference(admin, tenant_id="acme_corp", schema_name="bf_acme_corp", version=LATEST)


async def test_create_tenant_indexes_mends_what_is_missing(
    admin: asyncpg.Connection, built_expected: ExpectedTenants
) -> None:
    dropped = await admin.fetch(
        "SELECT i.indexname::text FROM pg_indexes i WHERE schemaname = 'bf_acme_corp' AND indexname LIKE 'idx%'"
    )
    for row in dropped:
        await admin.execute(f"DROP INDEX bf_acme_corp.{row[0]}")
    assert len((await drift(admin, built_expected)).missing) == len(dropped) > 14
    for _ in range(2):
        await admin.execute("SELECT bf_shared.create_tenant_indexes('acme_corp')")
        assert (await drift(admin, built_expected)).ok


async def test_create_tenant_indexes_replaces_what_a_concurrent_build_left_invalid(
    superuser: asyncpg.Connection, expected: ExpectedTenants
) -> None:
    await make_tenant(superuser, "acme_corp")
    await expected.prepare(LATEST)
    await superuser.execute(
        """INSERT INTO bf_acme_corp.budgets (id, tenant_id, budget_name, budget_type, fiscal_year,
                                             budget_period_start, budget_period_end)
           SELECT 'b' || n, 'acme_corp', 'B', 'annual', 2025, '2025-01-01', '2025-12-31'
             FROM generate_series(1, 2) AS n"""
    )
    await superuser.execute("DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status")
    with pytest.raises(asyncpg.UniqueViolationError):
        await superuser.execute(
            "CREATE UNIQUE INDEX CONCURRENTLY idx_acme_corp_budgets_status ON bf_acme_corp.budgets (status)"
        )
    altered = (await drift(superuser, expected)).altered
    assert [str(one) for one in altered] == ["index budgets.idx_acme_corp_budgets_status"]
    await superuser.execute("SELECT bf_shared.create_tenant_indexes('acme_corp')")
    assert (await drift(superuser, expected)).ok


async def test_create_tenant_rls_policies_mends_what_is_missing_or_otherwise(
    admin: asyncpg.Connection, built_expected: ExpectedTenants
) -> None:
    for statement in (
        "ALTER TABLE bf_acme_corp.budgets DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE bf_acme_corp.scenarios NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation_forecasts ON bf_acme_corp.forecasts",
        "DROP POLICY audit_access_budget_lines ON bf_acme_corp.budget_lines",
        "ALTER POLICY tenant_isolation_budgets ON bf_acme_corp.budgets USING (true)",
        "ALTER POLICY audit_access_budgets ON bf_acme_corp.budgets TO app_role",
    ):
        await admin.execute(statement)
    broken = await drift(admin, built_expected)
    assert len(broken.missing + broken.altered) == 6
    for _ in range(2):
        await admin.execute("SELECT bf_shared.create_tenant_rls_policies('acme_corp')")
        assert (await drift(admin, built_expected)).ok


@pytest.mark.parametrize("function", ["create_tenant_indexes", "create_tenant_rls_policies", "upgrade_tenant"])
@pytest.mark.parametrize("tenant_id", ["nobody", None, "coming"])
async def test_there_must_be_a_tenant_to_mend(admin: asyncpg.Connection, function: str, tenant_id: str | None) -> None:
    await admin.execute(
        "INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by) "
        "VALUES ('coming', 'x', 'bf_coming', 'provisioning', 'x')"
    )
    async with refused(admin, asyncpg.NoDataFoundError, "there is no tenant .* with a schema"):
        await admin.execute(f"SELECT bf_shared.{function}($1)", tenant_id)
