"""A tenant's day, from creation to purge and back, against a service that the README's first command started.

The API is called as an admin, PostgreSQL by psql: as the application, and as the operator who follows the guide.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import httpx
import pytest

from app.db.embedded import Binaries
from tests.support import up
from tests.support.processes import Finished, environment, free_port, run

_TENANT = "/v1/tenants/acme_corp"
_APPLICATION = "budget_application"
_BUDGET = """
INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
VALUES ('{0}', 'Budget {0}', 'annual', 2026, '2026-01-01', '2026-12-31')
"""
# The guide's own.
_GUIDE = """
UPDATE bf_shared.tenant_config
SET features_enabled = '["advanced_forecasting", "ai_insights", "scenario_planning"]'
WHERE tenant_id = 'acme_corp';
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`owner` and `application` are DSNs."""

    client: httpx.AsyncClient
    owner: str
    application: str

    async def get(self, path: str = "") -> httpx.Response:
        answer = await self.client.get(_TENANT + path)
        assert answer.status_code == 200, answer.text
        return answer

    async def post(self, path: str, body: Any = None, *, status: int = 200) -> dict[str, Any]:
        answer = await self.client.post(_TENANT + path, json=body, headers={"Prefer": "wait=30"})
        assert answer.status_code == status, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def sql(self, statements: str) -> Finished:
        """psql, as the operator."""
        return await _psql(self.owner, statements)

    async def budget(self, budget_id: str) -> Finished:
        """psql, as the application in the tenant's context."""
        context = "SELECT bf_shared.set_tenant_context('acme_corp', 'user_1');"
        return await _psql(self.application, f"BEGIN; {context} {_BUDGET.format(budget_id)}; COMMIT;")


async def _psql(dsn: str, statements: str) -> Finished:
    psql = str(Binaries.packaged().bin_dir / "psql")
    options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-d", dsn, "-c", statements)
    return await run(psql, *options, env=environment(""))


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with up.running(tmp_path / "data", free_port()) as running:
        owner = running.database_url
        made = await _psql(
            owner, f"CREATE ROLE {_APPLICATION} LOGIN PASSWORD 'by-the-book'; GRANT app_role TO {_APPLICATION};"
        )
        assert made.code == 0, made.stderr
        parts = urlsplit(owner)
        place = parts.netloc.rpartition("@")[2]
        application = urlunsplit(parts._replace(netloc=f"{_APPLICATION}:by-the-book@{place}"))
        headers = {"Authorization": f"Bearer {running.key}"}
        async with httpx.AsyncClient(base_url=running.page, headers=headers, timeout=40) as client:
            yield Site(client=client, owner=owner, application=application)


async def test_a_day_in_the_life_of_a_tenant(site: Site) -> None:
    # Created as it is to be.
    body = {
        "tenant_id": "acme_corp",
        "tenant_name": "ACME Corporation",
        "config": {"default_currency": "EUR", "time_zone": "Europe/Berlin"},
        "limits": {"max_budgets": 2},
    }
    made = await site.client.post("/v1/tenants", json=body, headers={"Prefer": "wait=30"})
    assert (made.status_code, made.json()["state"]) == (201, "active")
    assert (await site.get("/config")).json()["default_currency"] == "EUR"

    # A feature.
    enabled = await site.client.put(f"{_TENANT}/features/variance_analysis", json={"enabled": True})
    assert enabled.status_code == 200, enabled.text
    assert await _features(site) == {"variance_analysis": "tenant"}

    # The limit holds for the application, whoever speaks for it, and is raised.
    for budget_id in ("one", "two"):
        assert (await site.budget(budget_id)).code == 0
    refused = await site.budget("three")
    assert refused.code == 1
    assert "BF001: max_budgets of tenant acme_corp is 2, and 3 would be used" in refused.stderr
    raised = await site.client.patch(f"{_TENANT}/limits", json={"max_budgets": 3})
    assert raised.status_code == 200, raised.text
    assert (await site.budget("three")).code == 0
    (used,) = [one for one in (await site.get("/usage")).json()["usage"] if one["name"] == "max_budgets"]
    assert (used["used"], used["allowed"]) == (3, 3)

    # The guide's own UPDATE by psql: another tag, a version of its own, and back.
    before = await site.get("/features")
    assert (await site.sql(_GUIDE)).code == 0
    after = await site.get("/features")
    assert before.headers["etag"] != after.headers["etag"]
    assert (await _features(site)).keys() == {"advanced_forecasting", "ai_insights", "scenario_planning"}
    newest, previous, *_ = (await site.get("/config/history")).json()["items"]
    assert (newest["source"], newest["documents"], newest["by"]) == ("sql", ["features"], newest["database_user"])
    back = await site.post("/config/rollback", {"version": previous["version"], "reason": "not yet paid for"})
    assert (back["restored_version"], back["source"]) == (previous["version"], "api")
    assert await _features(site) == {"variance_analysis": "tenant"}

    # Suspended, the application is refused by the database itself; resumed, it goes on.
    assert (await site.post("/suspend", {"reason": "unpaid"}))["state"] == "suspended"
    refused = await site.budget("four")
    assert (refused.code, "42501" in refused.stderr) == (1, True)
    assert (await site.post("/resume"))["state"] == "active"

    # Deleted, brought back, deleted, purged; and brought back from its backup, to the row.
    rows = await _rows(site)
    await _delete(site)
    assert (await site.post("/restore"))["state"] == "active"
    await _delete(site)
    plan = await site.post("/purge", {"reason": "contract ended"})
    assert (plan["tables"], plan["rows"] > 0, plan["rows_are"]) == (6, True, "exact")
    purged = await site.post("/purge", {"reason": "contract ended", "confirmation": plan["confirmation"]})
    assert purged["status"] == "succeeded", purged
    assert (await site.client.get(_TENANT)).status_code == 404
    assert "does not exist" in (await site.sql("TABLE bf_acme_corp.budgets")).stderr
    restored = await site.post("/restore", {"reason": "they came back"})
    assert (restored["state"], restored["tenant_name"]) == ("active", "ACME Corporation")
    assert await _rows(site) == rows
    assert (await site.get("/config")).json()["time_zone"] == "Europe/Berlin"
    assert await _features(site) == {"variance_analysis": "tenant"}
    assert "BF001" in (await site.budget("four")).stderr


async def _features(site: Site) -> dict[str, str]:
    """The enabled ones, and where each comes from."""
    listed = (await site.get("/features")).json()["features"]
    return {one["name"]: one["source"] for one in listed if one["enabled"]}


async def _delete(site: Site) -> None:
    answer = await site.client.delete(_TENANT)
    assert (answer.status_code, answer.json()["state"]) == (200, "deleted")
    assert answer.json()["purge_time"] > answer.json()["state_changed_at"]


async def _rows(site: Site) -> list[Any]:
    """What the application sees of its budgets."""
    conn = await asyncpg.connect(site.application)
    try:
        async with conn.transaction():
            await conn.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'user_1')")
            return await conn.fetch("SELECT * FROM budgets ORDER BY id")
    finally:
        await conn.close()
