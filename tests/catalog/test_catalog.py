"""The catalogue over REST."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.problems import problem

# But for the tenant's making, which SQL does here.
_AUDITED = "SELECT count(*) FROM bf_control.audit WHERE target NOT LIKE 'tenant/%'"
_FEATURE = "/v1/catalog/features/exports"
_TIER = "/v1/catalog/tiers/gold"
_SEEDED = {
    "advanced_forecasting", "ai_forecasting", "ai_insights", "budget_templates", "industry_benchmarking",
    "real_time_collaboration", "scenario_planning", "variance_analysis",
}  # fmt: skip


async def _put(api: Api, path: str, body: object, **options: Any) -> httpx.Response:
    return await api.client.put(path, json=body, **options)


async def test_the_catalogue_has_the_eight_features_and_five_tiers(idle_api: Api) -> None:
    features = (await idle_api.client.get("/v1/catalog/features")).json()["items"]
    assert {feature["name"] for feature in features} == _SEEDED
    assert all(feature["description"] and feature["tier"] for feature in features)
    tiers = (await idle_api.client.get("/v1/catalog/tiers")).json()["items"]
    assert [tier["name"] for tier in tiers] == ["basic", "standard", "professional", "premium", "enterprise"]


async def test_an_admin_adds_a_feature_and_tenants_have_it(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    body = {"description": "Spreadsheets", "tier": "standard", "requires": []}
    added = await _put(idle_api, _FEATURE, body)
    assert (added.status_code, added.json()) == (201, {"name": "exports", "enabled_by_default": False, **body})
    read = await idle_api.client.get(_FEATURE)
    assert (read.json(), read.headers["ETag"]) == (added.json(), added.headers["ETag"])
    features = (await idle_api.client.get("/v1/tenants/acme_corp/features")).json()["features"]
    assert {f["source"] for f in features if f["name"] == "exports" and f["enabled"]} == {"tier"}
    history = "SELECT source FROM bf_control.tenant_config_history ORDER BY id DESC LIMIT 1"
    assert await conn.fetchval(history) == "api"
    changed = await _put(idle_api, _FEATURE, {**body, "tier": "premium"})
    assert changed.status_code == 200
    assert await conn.fetchval("SELECT features FROM bf_control.tenant") == []
    audit = await conn.fetch("SELECT action, target, after::text FROM bf_control.audit ORDER BY id DESC LIMIT 2")
    assert [(row["action"], row["target"]) for row in audit] == [
        ("feature.change", "feature/exports"), ("feature.create", "feature/exports"),
    ]  # fmt: skip
    assert json.loads(audit[0]["after"])["tier"] == "premium"


async def test_a_tiers_rank_decides_what_it_includes(idle_api: Api, conn: asyncpg.Connection) -> None:
    assert (await _put(idle_api, _TIER, {"rank": 35, "description": "Between"})).status_code == 201
    await make_tenant(conn)
    assert (await idle_api.client.patch("/v1/tenants/acme_corp", json={"subscription_tier": "gold"})).status_code == 200
    assert len(await conn.fetchval("SELECT features FROM bf_control.tenant")) == 4
    assert (await _put(idle_api, _TIER, {"rank": 40})).status_code == 200
    assert len(await conn.fetchval("SELECT features FROM bf_control.tenant")) == 7
    assert (await _put(idle_api, _TIER, {"rank": 10})).status_code == 200
    assert await conn.fetchval("SELECT features FROM bf_control.tenant") == []


@pytest.mark.parametrize(
    ("path", "body", "pointer", "said"),
    [
        (_FEATURE, {"tier": "premum"}, "/tier", "did you mean premium?"),
        (_FEATURE, {"requires": ["ai_insight"]}, "/requires/0", "did you mean ai_insights"),
        (_FEATURE, {"requires": ["exports"]}, "/requires", "exports requires exports"),
        (
            "/v1/catalog/features/advanced_forecasting", {"tier": "premium", "requires": ["ai_forecasting"]},
            "/requires", "in a circle: ",
        ),
        (_FEATURE, {"tier": "standard", "requires": ["ai_insights"]}, "/requires", "but not ai_insights"),
        (_FEATURE, {"enabled_by_default": True, "requires": ["ai_insights"]}, "/requires", "by default, but"),
        ("/v1/catalog/features/advanced_forecasting", {"tier": "enterprise"}, "/tier", "but not advanced_fore"),
        ("/v1/catalog/features/advanced_forecasting", {"tier": None}, "/tier", "includes ai_forecasting, but not"),
        ("/v1/catalog/tiers/professional", {"rank": 45}, "/rank", "includes ai_forecasting, but not advanced"),
        (_FEATURE, {"enabled": True}, "/enabled", "is not allowed here"),
        (_FEATURE, {"requires": "x"}, "/requires", "list"),
        (_FEATURE, {"description": "a\x00b"}, "/description", "control characters"),
        (_FEATURE, {"description": "x" * 1001}, "/description", "1000"),
        (_TIER, {}, "/rank", "required"),
        (_TIER, {"rank": 2**31}, "/rank", "less than"),
        (_TIER, {"rank": "high"}, "/rank", "integer"),
        ("/v1/catalog/features/Not-OK", {}, "path/name", "a letter first"),
        (f"/v1/catalog/tiers/{'x' * 21}", {"rank": 1}, "path/name", "1 to 20"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_422(
    idle_api: Api, conn: asyncpg.Connection, path: str, body: object, pointer: str, said: str
) -> None:
    rows = "SELECT name, updated_at FROM bf_control.feature UNION ALL SELECT name, updated_at FROM bf_control.tier"
    before = set(await conn.fetch(rows))
    errors = problem(await _put(idle_api, path, body), 422, "validation_failed")["errors"]
    assert any(error["pointer"] == pointer and said in error["detail"] for error in errors), errors
    assert set(await conn.fetch(rows)) == before


@pytest.mark.parametrize(("path", "body"), [(_FEATURE, {"description": "New"}), (_TIER, {"rank": 7})])
async def test_tags_guard_against_others(
    idle_api: Api, conn: asyncpg.Connection, path: str, body: dict[str, Any]
) -> None:
    problem(await _put(idle_api, path, body, headers={"If-Match": '"x"'}), 412, "precondition_failed")
    problem(await idle_api.client.get(path), 404)
    made = await _put(idle_api, path, body, headers={"If-None-Match": "*"})
    assert made.status_code == 201
    problem(await _put(idle_api, path, body, headers={"If-None-Match": "*"}), 412, "precondition_failed")
    tag = {"If-Match": made.headers["ETag"]}
    changed = await _put(idle_api, path, {**body, "description": "Newer"}, headers=tag)
    assert changed.status_code == 200
    problem(await _put(idle_api, path, body, headers=tag), 412, "precondition_failed")
    listed = path.rpartition("/")[0]
    known = (await idle_api.client.get(listed)).headers["ETag"]
    assert (await idle_api.client.get(listed, headers={"If-None-Match": known})).status_code == 304


@pytest.mark.parametrize(("path", "body"), [(_FEATURE, {"tier": "standard"}), (_TIER, {"rank": 7})])
async def test_a_dry_run_and_a_repeated_request_leave_no_trace(
    idle_api: Api, conn: asyncpg.Connection, path: str, body: dict[str, Any]
) -> None:
    await make_tenant(conn)
    dry = await _put(idle_api, path, body, params={"validate_only": "true"})
    assert (dry.status_code, "etag" in dry.headers) == (200, False)
    problem(await idle_api.client.get(path), 404)
    assert await conn.fetchval(_AUDITED) == 0
    await _put(idle_api, path, body)
    assert (await _put(idle_api, path, body)).status_code == 200
    assert await conn.fetchval(_AUDITED) == 1


async def test_two_admins_cannot_close_a_circle_between_them(idle_api: Api) -> None:
    for name in ("a1", "b1"):
        assert (await _put(idle_api, f"/v1/catalog/features/{name}", {})).status_code == 201
    answers = await asyncio.gather(
        _put(idle_api, "/v1/catalog/features/a1", {"requires": ["b1"]}),
        _put(idle_api, "/v1/catalog/features/b1", {"requires": ["a1"]}),
    )
    assert sorted(answer.status_code for answer in answers) == [200, 422]


async def test_a_catalogue_that_somebody_holds_is_503_in_time(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    async with conn.transaction():
        await conn.execute("UPDATE bf_shared.tenant_config SET tenant_name = 'Slow'")
        problem(await _put(idle_api, _FEATURE, {}), 503, "database_busy")
    assert (await _put(idle_api, _FEATURE, {})).status_code == 201


async def test_before_the_first_upgrade_the_catalogue_is_there_already(idle_api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute("DROP TABLE bf_shared.tenant_config")
    await conn.execute("DELETE FROM bf_control.setting")
    assert (await _put(idle_api, _FEATURE, {"tier": "standard"})).status_code == 201
