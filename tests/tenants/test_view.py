"""GET /v1/tenants/{id}?view=full: everything of one tenant, and what is to be said of its health."""

from typing import Any

import asyncpg
import pytest

from tests.support.api import Api
from tests.support.data import LATEST, make_tenant, suspend
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp"
_PARTS = {"config", "features", "limits", "integrations", "health"}


async def _full(api: Api, path: str = _PATH) -> dict[str, Any]:
    answer = await api.client.get(path, params={"view": "full"})
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


async def test_it_is_the_basic_view_and_five_parts(api: Api) -> None:
    await api.provision(
        "acme_corp",
        features_enabled=["variance_analysis", "ai_insights"],
        limits={"max_budget_lines": 500, "max_budgets": 7},
        config={"default_currency": "EUR", "fiscal_year_start": "2026-04-01", "cost_centers": [{"id": 1}, None]},
        integrations={"auth_rbac": {"realm": None}},
    )
    basic = (await api.client.get(_PATH)).json()
    whole = await _full(api)
    assert {name: whole[name] for name in whole if name not in _PARTS} == basic
    assert whole.keys() - basic.keys() == _PARTS
    assert basic == (await api.client.get(_PATH, params={"view": "basic"})).json()
    assert [(f["name"], f["enabled"], f["source"]) for f in whole["features"]] == [
        ("ai_insights", True, "tenant"),
        ("variance_analysis", True, "tenant"),
    ]
    assert whole["limits"] == {
        "max_budget_lines": 500, "max_budgets": 7, "forecast_horizon_limit": 60, "concurrent_users_limit": 100,
    }  # fmt: skip
    config = whole["config"]
    assert (config["default_currency"], config["fiscal_year_start"], config["time_zone"]) == (
        "EUR",
        "2026-04-01",
        "UTC",
    )
    assert (config["cost_centers"], config["encryption_enabled"]) == ([{"id": 1}, None], True)
    assert not {"tenant_name", "subscription_tier", "billing_contact", "features_enabled"} & config.keys()
    assert whole["integrations"] == {"auth_rbac": {"realm": None}}
    assert whole["health"]["status"] == "pass"
    assert {name: check["observed"] for name, check in whole["health"]["checks"].items()} == {
        "state": "active", "schema_version": LATEST, "last_operation": "succeeded", "catalogue": "as it was made",
        "isolation": 0,
    }  # fmt: skip


async def test_before_there_is_a_schema_its_parts_are_null_and_its_health_warns(idle_api: Api) -> None:
    await idle_api.client.put(_PATH, json={"tenant_name": "ACME"})
    whole = await _full(idle_api)
    assert [whole[name] for name in ("config", "features", "limits", "integrations")] == [None] * 4
    assert whole["health"]["status"] == "warn"
    checks = whole["health"]["checks"]
    assert (checks["state"]["status"], checks["state"]["observed"]) == ("warn", "provisioning")
    mend = {"method": "GET", "path": whole["last_operation"]}
    assert checks["schema_version"] == {
        "status": "warn", "observed": None, "reason": "there is no schema", "mend": mend, "time": None,
    }  # fmt: skip
    assert checks["last_operation"]["observed"] == "queued"


async def test_a_failed_tenant_s_health_fails_and_says_why(idle_api: Api) -> None:
    accepted = await idle_api.client.put(_PATH, json={"tenant_name": "ACME"})
    await idle_api.client.post(f"{accepted.headers['operation-location']}/cancel")
    whole = await _full(idle_api)
    assert (whole["state"], whole["error"]["code"]) == ("failed", "operation_cancelled")
    assert whole["config"] is None
    health = whole["health"]
    assert (health["status"], health["checks"]["state"]["status"]) == ("fail", "fail")
    assert health["checks"]["state"]["mend"] == {"method": "PUT", "path": _PATH}
    last = health["checks"]["last_operation"]
    assert (last["status"], last["observed"], last["reason"]) == ("warn", "cancelled", whole["error"]["detail"])
    assert last["mend"] == {"method": "POST", "path": f"{whole['last_operation']}/retry"}


async def test_a_suspended_tenant_keeps_its_parts_and_warns(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    active = await _full(idle_api)
    assert active["health"]["status"] == "pass"
    await suspend(conn)
    whole = await _full(idle_api)
    assert {name: whole[name] for name in _PARTS - {"health"}} == {name: active[name] for name in _PARTS - {"health"}}
    assert (whole["state"], whole["health"]["status"]) == ("suspended", "warn")
    assert whole["health"]["checks"]["state"] == {
        "status": "warn", "observed": "suspended", "reason": "is suspended: tests", "time": None,
        "mend": {"method": "POST", "path": f"{_PATH}/resume"},
    }  # fmt: skip


async def test_a_tenant_behind_the_latest_version_is_told_the_mend(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    health = (await _full(idle_api))["health"]
    assert health["status"] == "warn"
    assert health["checks"]["schema_version"]["observed"] == 0
    assert "POST /v1/schema/upgrade" in health["checks"]["schema_version"]["reason"]


async def test_whatever_sql_may_write_can_be_read(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    """Direct SQL is a client too: each of these is allowed by the table, and none may be a 500."""
    await make_tenant(conn)
    for column, value in (
        ("fiscal_year_start", "'0001-01-01'"), ("fiscal_year_start", "'9999-12-31'"),
        ("features_enabled", """'["B", "a", "a", "", "ü\\"", "😀"]'"""),
        ("usage_limits", """'{"max_budgets": 0, "storage_mb": 1000000000}'"""),
        ("apg_integrations", """'{"auth_rbac": {"endpoint": "http://10.0.0.1", "realm": "ü"}}'"""),
        ("cost_centers", """'[1, "x", null, [[]]]'"""),
        ("budget_features", """'{"a": {"b": [1e400]}, "c": -0.0}'"""), ("tenant_name", r"E'a\tb\nc'"),
        ("audit_level", "'z'"), ("subscription_tier", "'Gold!'"), ("billing_contact", "''"),
        ("default_currency", "'EUR'"), ("max_budget_lines", "0"),
    ):  # fmt: skip
        with subtests.test(f"{column} = {value}"[:60]):
            await conn.execute(f"UPDATE bf_shared.tenant_config SET {column} = {value}")  # noqa: S608
            assert (await _full(idle_api))["tenant_id"] == "acme_corp"
            assert (await idle_api.client.get("/v1/tenants")).status_code == 200
            renamed = await idle_api.client.patch(_PATH, json={"tenant_name": f"After {column}"})
            assert renamed.status_code == 200, renamed.text


async def test_a_number_beyond_what_clients_hold_is_told_as_text(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    digits, fraction = "9" * 5000, "1" + "0" * 400 + ".5"
    # As before limits were checked.
    await conn.execute("ALTER TABLE bf_shared.tenant_config DISABLE TRIGGER tenant_limits_check")
    await conn.execute(
        "UPDATE bf_shared.tenant_config SET usage_limits = $1, budget_features = $2",
        f'{{"max_budgets": {digits}, "small": -12, "half": 0.5}}',
        f'{{"a": [-{fraction}, -{digits}]}}',
    )
    shown = await _full(idle_api)
    assert (shown["limits"]["max_budgets"], shown["limits"]["small"], shown["limits"]["half"]) == (digits, -12, 0.5)
    assert shown["config"]["budget_features"] == {"a": [f"-{fraction}", f"-{digits}"]}
    assert (await idle_api.client.patch(_PATH, json={"tenant_name": "Renamed"})).status_code == 200


async def test_a_view_that_is_none_is_422(idle_api: Api) -> None:
    for view in ("FULL", "", "everything", "full,basic"):
        body = problem(await idle_api.client.get(_PATH, params={"view": view}), 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == ["query/view"]
    problem(await idle_api.client.get(_PATH, params={"view": "full"}), 404, "tenant_not_found")
