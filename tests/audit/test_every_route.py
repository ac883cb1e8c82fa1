"""Every changing route of openapi.json, and the row that its change leaves, in the same transaction."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app import keyring
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.data import make_tenant
from tests.support.plans import confirmed

_T = "/v1/tenants/{tenant_id}"
_TIER = {"rank": 45, "description": "Gold"}
_LIMIT = {"description": "Others", "unit": "count", "maximum": 9}
# In the order of a tenant's life: method, path, body, and the action and outcomes of what it leaves.
_CHANGES: list[tuple[str, str, Any, str, set[str]]] = [
    ("POST", "/v1/schema/upgrade", {}, "schema.upgrade", {"accepted", "succeeded"}),
    ("POST", "/v1/tenants", {"tenant_id": "acme_corp", "tenant_name": "A"}, "tenant.create", {"accepted", "succeeded"}),
    ("POST", "/v1/tenants/batch", {"tenants": [{"tenant_id": "one", "tenant_name": "1"}]}, "tenant.create",
     {"accepted"}),
    ("PUT", "/v1/tenants/other", {"tenant_name": "O"}, "tenant.create", {"accepted", "succeeded"}),
    ("PATCH", _T, {"tenant_name": "B"}, "tenant.change", {"succeeded"}),
    ("PATCH", "/v1/tenants", {"subscription_tier": "premium"}, "tenants.change", {"accepted", "succeeded"}),
    ("PATCH", _T + "/config", {"default_currency": "EUR"}, "tenant.configure", {"succeeded"}),
    ("PUT", _T + "/config", {"default_currency": "CHF"}, "tenant.configure", {"succeeded"}),
    ("POST", _T + "/config/rollback", {"version": 1}, "tenant.rollback", {"succeeded"}),
    ("PATCH", _T + "/limits", {"max_budgets": 5}, "tenant.limits.change", {"succeeded"}),
    ("PUT", _T + "/features/ai_insights", {"enabled": False}, "tenant.change_feature", {"succeeded"}),
    ("DELETE", _T + "/features/ai_insights", None, "tenant.change_feature", {"succeeded"}),
    ("PUT", _T + "/integrations/auth_rbac",
     {"enabled": True, "endpoint": "https://auth.acme.example", "credentials": {"token": "hunter2"}},
     "integration.change", {"succeeded"}),
    ("DELETE", _T + "/integrations/auth_rbac", None, "integration.delete", {"succeeded"}),
    ("PUT", "/v1/catalog/features/exports", {"description": "Exports"}, "feature.create", {"succeeded"}),
    ("PUT", "/v1/catalog/tiers/gold", _TIER, "tier.create", {"succeeded"}),
    ("PUT", "/v1/catalog/limits/max_others", _LIMIT, "catalog.limit.change", {"succeeded"}),
    ("POST", _T + "/suspend", {"reason": "unpaid"}, "tenant.suspend", {"succeeded"}),
    ("POST", _T + "/resume", {}, "tenant.resume", {"succeeded"}),
    ("POST", _T + "/backups", {}, "tenant.backup", {"accepted", "succeeded"}),
    ("POST", _T + "/repair", {}, "tenant.repair", {"accepted", "succeeded"}),
    ("POST", "/v1/schema/verify", {}, "fleet.verify", {"accepted", "succeeded"}),
    ("POST", "/v1/schema/repair", {}, "fleet.repair", {"accepted", "succeeded"}),
    ("POST", "/v1/api-keys", {"name": "n", "role": "viewer"}, "api_key.create", {"succeeded"}),
    ("POST", "/v1/api-keys/{key_id}/rotate", {}, "api_key.rotate", {"succeeded"}),
    ("DELETE", "/v1/api-keys/{key_id}", None, "api_key.revoke", {"succeeded"}),
    ("POST", "/v1/webhooks", {"url": "https://hooks.example.com"}, "webhook.create", {"succeeded"}),
    ("POST", "/v1/webhooks/{webhook_id}/rotate", {}, "webhook.rotate", {"succeeded"}),
    ("POST", "/v1/webhooks/{webhook_id}/test", None, "webhook.test", {"succeeded"}),
    ("POST", "/v1/webhooks/{webhook_id}/replay", {"since": "2026-01-31T09:00:00Z"}, "webhook.replay", {"succeeded"}),
    ("DELETE", "/v1/webhooks/{webhook_id}", None, "webhook.delete", {"succeeded"}),
    ("DELETE", _T, None, "tenant.delete", {"succeeded"}),
    ("POST", _T + "/restore", {}, "tenant.restore", {"succeeded"}),
    ("DELETE", _T, None, "tenant.delete", {"succeeded"}),
    ("POST", _T + "/purge", {"waive_backup": True}, "tenant.purge", {"accepted", "succeeded"}),
    ("DELETE", "/v1/tenants", None, "tenants.delete", {"accepted"}),
    ("POST", "/v1/operations/{operation_id}/cancel", None, "operation.cancel", {"accepted"}),
    ("POST", "/v1/operations/{operation_id}/retry", None, "tenant.create", {"accepted"}),
    ("POST", "/v1/schema/downgrade", {}, "schema.downgrade", {"accepted"}),
]  # fmt: skip
# They change nothing: what they answer is all that they do.
_ASKS = {
    ("POST", "/ofrep/v1/evaluate/flags"),
    ("POST", "/ofrep/v1/evaluate/flags/{key}"),
    ("POST", _T + "/integrations/{capability}/check"),
    ("POST", _T + "/verify"),
}
# What another test is about, with what it needs: tests/plans/test_approval.py, tests/webhooks/test_rest.py.
_ELSEWHERE = {("POST", "/v1/plans/{plan_id}/approve"), ("POST", "/v1/webhooks/{webhook_id}/enable")}
# Those whose rows are made without a worker, by what the test itself sets up.
_QUEUED = {
    *((method, path) for method, path, *_ in _CHANGES if path.startswith("/v1/operations/")),
    ("POST", "/v1/schema/downgrade"),
    ("DELETE", "/v1/tenants"),
}
_MADE = {"/v1/api-keys": "key_id", "/v1/webhooks": "webhook_id"}
_ROWS = """
SELECT actor, role, source_address, outcome, before, after FROM bf_control.audit
 WHERE request_id = $1 AND action = $2 ORDER BY id
"""


@pytest.fixture
async def api(settings: Settings, tmp_path: Path) -> AsyncIterator[Api]:
    more = {
        "backup_url": str(tmp_path / "backups"),
        "secret_keys": type(settings.secret_keys)(keyring.new_key()),
    }
    async with running_api(settings.model_copy(update=more), with_worker=True) as running:
        yield running


def _template(path: str) -> str:
    for given, name in (
        ("/other", "/{tenant_id}"), ("/ai_insights", "/{name}"), ("/auth_rbac", "/{capability}"),
        ("/exports", "/{name}"), ("/gold", "/{name}"), ("/max_others", "/{name}"),
    ):  # fmt: skip
        path = path.removesuffix(given) + (name if path.endswith(given) else "")
    return path


async def test_every_changing_route_is_in_this_file(idle_api: Api) -> None:
    routes = {
        (method.upper(), path)
        for path, methods in idle_api.app.openapi()["paths"].items()
        for method in methods
        if method in {"post", "put", "patch", "delete"}
    }
    assert routes == {(method, _template(path)) for method, path, *_ in _CHANGES} | _ASKS | _ELSEWHERE


async def _call(api: Api, number: int, method: str, path: str, body: Any, ids: dict[str, str]) -> None:
    """`ids` are of what is there; the key and the webhook that this makes are added."""
    headers = {"X-Request-ID": f"audit-{number}", "Prefer": "wait=30"}
    address = path.format(**ids)
    if (method, path) == ("PUT", _T + "/config"):
        headers["If-Match"] = (await api.client.get(address)).headers["etag"]
    query = {"all": "true"} if (method, path) == ("PATCH", "/v1/tenants") else {}
    if path.endswith("/purge"):
        answer = await confirmed(api.client, address, headers, **body)
    else:
        answer = await api.client.request(method, address, json=body, params=query, headers=headers)
    assert answer.status_code in {200, 201, 202, 204, 207}, (method, path, answer.text)
    if path in _MADE:
        ids[_MADE[path]] = answer.json()["id"]


async def test_each_change_leaves_its_row(api: Api, conn: asyncpg.Connection) -> None:
    ids = {"tenant_id": "acme_corp"}
    for number, (method, path, body, action, outcomes) in enumerate(_CHANGES):
        if (method, path) in _QUEUED:
            continue
        await _call(api, number, method, path, body, ids)
        rows = await conn.fetch(_ROWS, f"audit-{number}", action)
        assert {row["outcome"] for row in rows} >= outcomes, (method, path, rows)
        first = rows[0]
        assert first["actor"].startswith("key:"), path
        # Of what a worker does for it too.
        assert {(row["role"], row["source_address"]) for row in rows} == {("admin", "127.0.0.1")}, path
        if outcomes == {"succeeded"} and not action.endswith(
            (".create", "limit.change", "integration.change", "webhook.rotate", "webhook.test", "webhook.replay")
        ):
            assert first["before"] is not None, path
    trail = await conn.fetchval("SELECT string_agg(a::text, ' ') FROM bf_control.audit a")
    assert "hunter2" not in trail


async def test_each_change_of_an_operation_leaves_its_row(idle_api: Api, conn: asyncpg.Connection) -> None:
    made = await idle_api.client.post("/v1/tenants", json={"tenant_id": "acme_corp", "tenant_name": "A"})
    place = f"/v1/operations/{made.json()['id']}"
    for path, action in (("cancel", "operation.cancel"), ("retry", "tenant.create")):
        answer = await idle_api.client.post(f"{place}/{path}", headers={"X-Request-ID": path})
        assert answer.status_code in {200, 202}, answer.text
        (row,) = await conn.fetch(_ROWS, path, action)
        assert (row["outcome"], row["role"]) == ("accepted", "admin")


async def test_a_deletion_of_many_leaves_its_row(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    everyone = {"all": "true"}
    plan = await idle_api.client.delete("/v1/tenants", params=everyone)
    assert plan.status_code == 200, plan.text
    sure = {**everyone, "confirmation": plan.json()["confirmation"]}
    answer = await idle_api.client.delete("/v1/tenants", params=sure, headers={"X-Request-ID": "many"})
    assert answer.status_code == 202, answer.text
    (row,) = await conn.fetch(_ROWS, "many", "tenants.delete")
    assert (row["outcome"], row["role"]) == ("accepted", "admin")


async def test_a_downgrade_leaves_its_row(idle_api: Api, conn: asyncpg.Connection) -> None:
    plan = await idle_api.client.post("/v1/schema/downgrade", json={})
    assert plan.status_code == 200, plan.text
    answer = await idle_api.client.post(
        "/v1/schema/downgrade",
        json={"confirmation": plan.json()["confirmation"]},
        headers={"X-Request-ID": "down"},
    )
    assert answer.status_code == 202, answer.text
    (row,) = await conn.fetch(_ROWS, "down", "schema.downgrade")
    assert (row["outcome"], row["role"]) == ("accepted", "admin")


async def test_a_dry_run_leaves_nothing(api: Api, conn: asyncpg.Connection) -> None:
    await api.provision()
    before = await conn.fetchval("SELECT count(*) FROM bf_control.audit")
    for path, body in (("", {"tenant_name": "Z"}), ("/config", {"default_currency": "JPY"})):
        answer = await api.client.patch(f"/v1/tenants/acme_corp{path}", json=body, params={"validate_only": "true"})
        assert answer.status_code == 200, answer.text
    assert await conn.fetchval("SELECT count(*) FROM bf_control.audit") == before
