"""The features of a tenant over REST."""

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp/features"
_COLUMN = "SELECT features_enabled::text FROM bf_shared.tenant_config WHERE tenant_id = 'acme_corp'"
_AUDIT = "SELECT action, target, before::text, after::text FROM bf_control.audit ORDER BY id"
_HISTORY = "SELECT source FROM bf_control.tenant_config_history ORDER BY id DESC LIMIT 1"


def _by_name(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {feature["name"]: feature for feature in answer.json()["features"]}


async def _features(api: Api) -> dict[str, dict[str, Any]]:
    return _by_name(await api.client.get(_PATH))


async def _put(api: Api, name: str, enabled: bool = True, **options: Any) -> httpx.Response:
    return await api.client.put(f"{_PATH}/{name}", json={"enabled": enabled}, **options)


async def _stored(conn: asyncpg.Connection) -> list[str]:
    names: list[str] = json.loads(await conn.fetchval(_COLUMN))
    return names


async def test_every_feature_of_the_catalogue_is_there_with_what_decides_about_it(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_control.feature SET enabled_by_default = true WHERE name = 'ai_insights'")
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'professional'")
    await conn.execute(
        """UPDATE bf_shared.tenant_config SET features_enabled = features_enabled - 'budget_templates' || '["Zeta!"]'"""
    )
    features = await _features(idle_api)
    told = {name: (f["enabled"], f["source"], f["known"]) for name, f in features.items()}
    assert told == {
        "Zeta!": (True, "tenant", False),
        "advanced_forecasting": (True, "tier", True),
        "ai_forecasting": (False, "default", True),
        "ai_insights": (True, "default", True),
        "budget_templates": (False, "tenant", True),
        "industry_benchmarking": (False, "default", True),
        "real_time_collaboration": (False, "default", True),
        "scenario_planning": (True, "tier", True),
        "variance_analysis": (True, "tier", True),
    }
    assert list(told) == sorted(told)
    assert features["ai_forecasting"]["requires"] == ["advanced_forecasting"]
    whole = (await idle_api.client.get("/v1/tenants/acme_corp", params={"view": "full"})).json()["features"]
    assert whole == [feature for feature in features.values() if feature["enabled"]]


async def test_enabling_and_disabling_is_the_tenants_own_and_a_reset_leaves_it_to_the_tier(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    changed = _by_name(await _put(idle_api, "ai_insights"))
    assert (changed["ai_insights"]["enabled"], changed["ai_insights"]["source"]) == (True, "tenant")
    assert changed == await _features(idle_api)
    assert await _stored(conn) == ["ai_insights"]
    assert await conn.fetchval(_HISTORY) == "api"
    off = _by_name(await _put(idle_api, "ai_insights", False))["ai_insights"]
    assert (off["enabled"], off["source"], await _stored(conn)) == (False, "tenant", [])
    reset = _by_name(await idle_api.client.delete(f"{_PATH}/ai_insights"))["ai_insights"]
    assert (reset["enabled"], reset["source"]) == (False, "default")
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'premium'")
    assert "ai_insights" in await _stored(conn)


async def test_disabled_in_a_tier_and_reset_it_comes_back(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'premium'")
    assert not _by_name(await _put(idle_api, "ai_insights", False))["ai_insights"]["enabled"]
    assert "ai_insights" not in await _stored(conn)
    back = _by_name(await idle_api.client.delete(f"{_PATH}/ai_insights"))["ai_insights"]
    assert (back["enabled"], back["source"]) == (True, "tier")
    assert "ai_insights" in await _stored(conn)


async def test_what_the_tier_includes_can_be_made_the_tenants_own(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'premium'")
    before = await _stored(conn)
    assert _by_name(await _put(idle_api, "ai_insights"))["ai_insights"]["source"] == "tenant"
    assert await _stored(conn) == before
    await idle_api.client.patch("/v1/tenants/acme_corp", json={"subscription_tier": "standard"})
    assert await _stored(conn) == ["ai_insights"]


async def test_an_unknown_feature_is_422_with_the_nearest_names(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    (error,) = problem(await _put(idle_api, "ai_insight"), 422, "validation_failed")["errors"]
    assert (error["pointer"], "did you mean ai_insights?" in error["detail"]) == ("path/name", True)
    (error,) = problem(await _put(idle_api, "zzz"), 422)["errors"]
    assert "which has advanced_forecasting, ai_forecasting" in error["detail"]
    problem(await _put(idle_api, "Not-OK"), 422)
    problem(await idle_api.client.delete(f"{_PATH}/ai_insight"), 404, "feature_not_found")
    problem(await idle_api.client.delete(f"{_PATH}/%00"), 404, "feature_not_found")


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_tenant_with_an_unknown_feature_is_not_made(
    idle_api: Api, conn: asyncpg.Connection, method: str
) -> None:
    body = {"tenant_name": "A", "features_enabled": ["ai_insights", "ai_insigths", "ai_insights", "zz"]}
    path = "/v1/tenants/acme_corp" if method == "PUT" else "/v1/tenants"
    answer = await idle_api.client.request(method, path, json={**body, "tenant_id": "acme_corp"})
    errors = {error["pointer"]: error["detail"] for error in problem(answer, 422, "validation_failed")["errors"]}
    assert errors.keys() == {"/features_enabled/1", "/features_enabled/3"}
    assert "did you mean ai_insights?" in errors["/features_enabled/1"]
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0


async def test_a_tenant_is_not_made_with_half_of_what_a_feature_requires(idle_api: Api) -> None:
    body = {"tenant_id": "acme_corp", "tenant_name": "A", "features_enabled": ["ai_forecasting"]}
    (error,) = problem(await idle_api.client.post("/v1/tenants", json=body), 422)["errors"]
    assert error == {"pointer": "/features_enabled/0", "detail": "requires advanced_forecasting"}
    body["features_enabled"] = ["ai_forecasting", "advanced_forecasting"]
    assert (await idle_api.client.post("/v1/tenants", json=body)).status_code == 202


async def test_a_tenant_is_made_with_just_the_features_it_asks_for(api: Api, conn: asyncpg.Connection) -> None:
    made = await api.provision(subscription_tier="premium", features_enabled=["ai_insights"])
    assert made.status_code == 201, made.text
    assert await _stored(conn) == ["ai_insights"]
    assert (await api.provision("global_inc", subscription_tier="professional")).status_code == 201
    features = _by_name(await api.client.get("/v1/tenants/global_inc/features"))
    enabled = {name: f["source"] for name, f in features.items() if f["enabled"]}
    assert enabled == dict.fromkeys(
        ("advanced_forecasting", "budget_templates", "scenario_planning", "variance_analysis"), "tier"
    )
    listed = (await api.client.get("/v1/tenants", params={"feature": "variance_analysis"})).json()["items"]
    assert [tenant["tenant_id"] for tenant in listed] == ["global_inc"]


async def test_a_feature_needs_what_it_requires_and_keeps_it(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    body = problem(await _put(idle_api, "ai_forecasting"), 409, "feature_requires")
    assert (body["feature"], body["requires"]) == ("ai_forecasting", ["advanced_forecasting"])
    assert (await _put(idle_api, "advanced_forecasting")).status_code == 200
    assert (await _put(idle_api, "ai_forecasting")).status_code == 200
    for answer in (
        await _put(idle_api, "advanced_forecasting", False),
        await idle_api.client.delete(f"{_PATH}/advanced_forecasting"),
    ):
        body = problem(answer, 409, "feature_required")
        assert (body["feature"], body["requires"]) == ("ai_forecasting", ["advanced_forecasting"])
    assert await _stored(conn) == ["advanced_forecasting", "ai_forecasting"]


async def test_a_tier_does_not_take_what_the_tenants_own_feature_requires(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'professional'")
    assert (await _put(idle_api, "ai_forecasting")).status_code == 200
    patch = await idle_api.client.patch("/v1/tenants/acme_corp", json={"subscription_tier": "standard"})
    assert problem(patch, 409, "feature_required")["feature"] == "ai_forecasting"
    assert await conn.fetchval("SELECT subscription_tier FROM bf_control.tenant") == "professional"
    assert (await _put(idle_api, "advanced_forecasting")).status_code == 200
    patch = await idle_api.client.patch("/v1/tenants/acme_corp", json={"subscription_tier": "standard"})
    assert patch.status_code == 200
    assert sorted(await _stored(conn)) == ["advanced_forecasting", "ai_forecasting"]


async def test_what_sql_has_parted_is_shown_and_may_stay(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("""UPDATE bf_shared.tenant_config SET features_enabled = '["ai_forecasting", "zeta"]'""")
    assert (await _features(idle_api))["ai_forecasting"]["missing"] == ["advanced_forecasting"]
    assert (await _put(idle_api, "ai_insights")).status_code == 200
    problem(await _put(idle_api, "zeta"), 422)
    gone = _by_name(await idle_api.client.delete(f"{_PATH}/zeta"))
    assert "zeta" not in gone
    assert await _stored(conn) == ["ai_forecasting", "ai_insights"]


async def test_a_change_is_audited_and_one_that_changes_nothing_leaves_no_trace(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    counts = "SELECT (SELECT count(*) FROM bf_control.audit), (SELECT count(*) FROM bf_control.tenant_config_history)"
    start = tuple(await conn.fetchrow(counts))
    await idle_api.client.delete(f"{_PATH}/ai_insights")
    await _put(idle_api, "ai_insights", params={"validate_only": "true"})
    assert tuple(await conn.fetchrow(counts)) == start
    tag = (await _put(idle_api, "ai_insights")).headers["ETag"]
    assert (await _put(idle_api, "ai_insights")).headers["ETag"] == tag
    assert tuple(await conn.fetchrow(counts)) == (start[0] + 1, start[1] + 1)
    action, target, before, after = tuple((await conn.fetch(_AUDIT))[-1])
    assert (action, target) == ("tenant.change_feature", "tenant/acme_corp")
    assert json.loads(before) == {"feature": "ai_insights", "enabled": False, "source": "default"}
    assert json.loads(after) == {"feature": "ai_insights", "enabled": True, "source": "tenant"}


async def test_a_dry_run_says_what_would_be(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    dry = {"params": {"validate_only": "true"}}
    assert _by_name(await _put(idle_api, "ai_insights", **dry))["ai_insights"]["enabled"]
    problem(await _put(idle_api, "ai_forecasting", **dry), 409, "feature_requires")
    assert (await idle_api.client.delete(f"{_PATH}/ai_insights", **dry)).status_code == 200
    assert await _stored(conn) == []


async def test_the_tag_is_of_the_whole_list_and_guards_each_of_it(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    read = await idle_api.client.get(_PATH)
    tag = read.headers["ETag"]
    assert (await idle_api.client.get(_PATH, headers={"If-None-Match": tag})).status_code == 304
    await conn.execute("""UPDATE bf_shared.tenant_config SET features_enabled = '["zeta"]'""")
    again = await idle_api.client.get(_PATH, headers={"If-None-Match": tag})
    assert (again.status_code, again.headers["ETag"] != tag) == (200, True)
    problem(await _put(idle_api, "ai_insights", headers={"If-Match": tag}), 412, "precondition_failed")
    stale = await idle_api.client.delete(f"{_PATH}/zeta", headers={"If-Match": tag})
    problem(stale, 412, "precondition_failed")
    fresh = {"If-Match": again.headers["ETag"]}
    answers = await asyncio.gather(*(_put(idle_api, "ai_insights", headers=fresh) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]


@pytest.mark.parametrize(
    "body", [{}, {"enabled": None}, {"enabled": "maybe"}, {"enabled": True, "x": 1}, [], "x", {"enabled": 7}]
)
async def test_bad_bodies_are_422(idle_api: Api, conn: asyncpg.Connection, body: object) -> None:
    await make_tenant(conn)
    problem(await idle_api.client.put(f"{_PATH}/ai_insights", json=body), 422)
    assert await _stored(conn) == []


async def test_states_decide(idle_api: Api, conn: asyncpg.Connection) -> None:
    problem(await idle_api.client.get(_PATH), 404, "tenant_not_found")
    problem(await _put(idle_api, "ai_insights"), 404, "tenant_not_found")
    problem(await idle_api.client.delete(f"{_PATH}/ai_insights"), 404, "tenant_not_found")
    await idle_api.client.post("/v1/tenants", json={"tenant_id": "acme_corp", "tenant_name": "ACME"})
    assert (await idle_api.client.get(_PATH)).json() == {"features": []}
    problem(await _put(idle_api, "ai_insights"), 409, "tenant_state_forbids")
    problem(await idle_api.client.delete(f"{_PATH}/ai_insights"), 409, "tenant_state_forbids")
    await make_tenant(conn)
    await suspend(conn)
    assert (await _put(idle_api, "ai_insights")).status_code == 200
    await conn.execute("UPDATE bf_control.tenant SET state = 'deleted'")
    problem(await _put(idle_api, "ai_forecasting"), 409, "tenant_state_forbids")


async def test_many_at_once_lose_nothing(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    names = ("ai_insights", "budget_templates", "industry_benchmarking", "scenario_planning", "variance_analysis")
    answers = await asyncio.gather(*(_put(idle_api, name) for name in names))
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(await _stored(conn)) == sorted(names)


async def test_two_that_part_each_other_are_not_both_done(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await _put(idle_api, "advanced_forecasting")
    on, off = await asyncio.gather(
        _put(idle_api, "ai_forecasting"), _put(idle_api, "advanced_forecasting", enabled=False)
    )
    assert sorted((on.status_code, off.status_code)) == [200, 409]
    assert all(not feature["missing"] for feature in (await _features(idle_api)).values())


async def test_a_key_of_the_tenant_changes_its_features_and_nobody_elses(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await make_tenant(conn, "global_inc")
    own = {"Authorization": f"Bearer {await idle_api.key(Role.OPERATOR, tenant_id='acme_corp')}"}
    assert (await _put(idle_api, "ai_insights", headers=own)).status_code == 200
    foreign = "/v1/tenants/global_inc/features/ai_insights"
    problem(await idle_api.client.put(foreign, json={"enabled": True}, headers=own), 404, "tenant_not_found")
