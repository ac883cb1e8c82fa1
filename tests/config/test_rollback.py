"""POST /v1/tenants/{id}/config/rollback: a new version that is equal to an old one."""

import asyncio
import json
from collections import Counter
from typing import Any

import asyncpg
import pytest

from tests.config.support import OTHER, PATH, get, patch, put, rollback, versions
from tests.integrations.support import AS_BEFORE, AS_NOW
from tests.support import tables
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.problems import problem

_ROW = "SELECT to_jsonb(c) - 'updated_at' FROM bf_shared.tenant_config c WHERE tenant_id = 'acme_corp'"


@pytest.fixture(autouse=True)
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)


async def _row(conn: asyncpg.Connection) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(await conn.fetchval(_ROW))
    return row


async def test_every_document_is_what_it_was(idle_api: Api, conn: asyncpg.Connection) -> None:
    first = await _row(conn)
    await put(idle_api, OTHER)
    whole = {"tenant_name": "ACME Worldwide", "subscription_tier": "premium", "billing_contact": "b@acme.example"}
    await idle_api.client.patch("/v1/tenants/acme_corp", json=whole)
    await conn.execute(
        """UPDATE bf_shared.tenant_config SET features_enabled = '["ai_insights"]', max_budget_lines = 7,
                  usage_limits = '{"max_budgets": 500}', apg_integrations = '{"auth_rbac": {}}'"""
    )
    fourth = await _row(conn)
    answer = await rollback(idle_api, 1)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["version"], answer.json()["restored_version"]) == (5, 1)
    assert await _row(conn) == first
    assert answer.json() == (await versions(idle_api))[0]
    assert answer.json()["documents"] == ["configuration", "features", "integrations", "limits", "tenant"]
    listed = (await idle_api.client.get("/v1/tenants/acme_corp")).json()
    assert (listed["tenant_name"], listed["subscription_tier"]) == ("ACME Corporation", "standard")

    await rollback(idle_api, 4, reason="that was right after all")
    assert await _row(conn) == fourth
    newest = (await versions(idle_api))[0]
    assert (newest["version"], newest["restored_version"]) == (6, 4)
    assert (newest["reason"], newest["source"]) == ("that was right after all", "api")
    await patch(idle_api, {"audit_level": "full"})
    newest = (await versions(idle_api))[0]
    assert (newest["reason"], newest["restored_version"]) == (None, None)


async def test_what_follows_the_state_stays(idle_api: Api, conn: asyncpg.Connection) -> None:
    await put(idle_api, OTHER)
    await suspend(conn)
    answer = await rollback(idle_api, 1)
    assert answer.status_code == 200, answer.text
    row = await _row(conn)
    assert (row["is_active"], row["default_currency"]) == (False, "USD")


async def test_where_nothing_would_be_different_there_is_no_new_version(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    await put(idle_api, OTHER)
    before = await tables.counts(superuser)
    answer = await rollback(idle_api, 2)
    assert (answer.status_code, answer.json()["version"]) == (200, 2)
    assert await tables.counts(superuser) == before


async def test_a_dry_run_says_what_would_be_different_and_leaves_nothing(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    await patch(idle_api, {"default_currency": "EUR"})
    before = await tables.counts(superuser)
    answer = await rollback(idle_api, 1, validate_only="true", headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["version"]) == (200, 3)
    assert answer.json()["difference"] == [{"pointer": "/default_currency", "before": "EUR", "after": "USD"}]
    assert await tables.counts(superuser) == before
    assert len(await versions(idle_api)) == 2


async def test_under_a_key_it_is_done_once(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "other")
    await put(idle_api, OTHER)
    headers = {"Idempotency-Key": "back"}
    first = await rollback(idle_api, 1, headers=headers)
    await put(idle_api, OTHER)
    again = await rollback(idle_api, 1, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"
    assert (await get(idle_api)).json() == OTHER
    problem(await rollback(idle_api, 2, headers=headers), 422, "idempotency_key_reused")
    other = await idle_api.client.post("/v1/tenants/other/config/rollback", json={"version": 1}, headers=headers)
    problem(other, 422, "idempotency_key_reused")


async def test_if_match_is_the_tag_of_the_configuration(idle_api: Api) -> None:
    stale = (await get(idle_api)).headers["etag"]
    tag = (await put(idle_api, OTHER)).headers["etag"]
    problem(await rollback(idle_api, 1, headers={"If-Match": stale}), 412, "precondition_failed")
    assert (await rollback(idle_api, 1, headers={"If-Match": tag})).status_code == 200


async def test_of_many_with_one_tag_exactly_one_wins(idle_api: Api) -> None:
    await put(idle_api, OTHER)
    tag = (await get(idle_api)).headers["etag"]
    answers = await asyncio.gather(
        *(rollback(idle_api, 1, headers={"If-Match": tag}) for _ in range(3)),
        *(put(idle_api, {"data_retention_days": days}, tag) for days in range(1, 4)),
        *(patch(idle_api, {"data_retention_days": days}, tag) for days in range(4, 7)),
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 8}
    assert len(await versions(idle_api)) == 3


async def test_a_version_that_is_not_there_is_404_and_nonsense_422(idle_api: Api, subtests: pytest.Subtests) -> None:
    for version in (2, 10**18):
        problem(await rollback(idle_api, version), 404, "version_not_found")
    for wrong in (0, -1, "1", 1.5, None, True, 2**63):
        with subtests.test(repr(wrong)):
            errors = problem(await rollback(idle_api, wrong), 422, "validation_failed")["errors"]
            assert [error["pointer"] for error in errors] == ["/version"]
    for reason in ("", " ", "a\nb", "x" * 501, 1, "see https://me:hush@wiki.example/"):
        with subtests.test(repr(reason)[:20]):
            answer = await rollback(idle_api, 1, reason=reason)
            errors = problem(answer, 422, "validation_failed")["errors"]
            assert [error["pointer"] for error in errors] == ["/reason"]
            assert "hush" not in answer.text
    problem(await idle_api.client.post(f"{PATH}/rollback", json={"version": 1, "to": 1}), 422, "validation_failed")
    problem(await idle_api.client.post("/v1/tenants/nobody/config/rollback", json={"version": 1}), 404)


async def test_a_version_of_an_earlier_tenant_with_this_id_is_not_there(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await put(idle_api, OTHER)
    await patch(idle_api, {"audit_level": "full"})
    await superuser.execute("DELETE FROM bf_shared.tenant_config")
    await superuser.execute("DELETE FROM bf_control.tenant")
    await superuser.execute("DROP SCHEMA bf_acme_corp CASCADE")
    await make_tenant(conn)
    problem(await rollback(idle_api, 2), 404, "version_not_found")
    await patch(idle_api, {"audit_level": "other"})
    await rollback(idle_api, 2)
    assert (await get(idle_api)).json()["audit_level"] == "other"


async def test_a_version_whose_tier_is_gone_is_409(idle_api: Api, superuser: asyncpg.Connection) -> None:
    path = "/v1/tenants/acme_corp"
    await superuser.execute("INSERT INTO bf_control.tier (name, rank) VALUES ('gold', 60)")
    for tier in ("gold", "basic"):
        await idle_api.client.patch(path, json={"subscription_tier": tier})
    await superuser.execute("DELETE FROM bf_control.tier WHERE name = 'gold'")
    before = await tables.counts(superuser)
    told = problem(await rollback(idle_api, 2), 409, "tier_gone")
    assert told["tier"] == "gold"
    assert await tables.counts(superuser) == before
    assert (await rollback(idle_api, 1)).status_code == 200


async def test_a_version_whose_feature_is_gone_is_409(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for names in ('["ai_insights"]', '["ai_insights", "gone", "lost"]', '["ai_insights"]'):
        await conn.execute("UPDATE bf_shared.tenant_config SET features_enabled = $1", names)
    before = await tables.counts(superuser)
    for params in ({}, {"validate_only": "true"}):
        told = problem(await rollback(idle_api, 3, **params), 409, "feature_gone")
        assert told["features"] == ["gone", "lost"]
    assert await tables.counts(superuser) == before
    assert (await rollback(idle_api, 1)).status_code == 200
    assert (await rollback(idle_api, 2)).status_code == 200
    await superuser.execute("DELETE FROM bf_control.feature WHERE name = 'ai_insights'")
    problem(await rollback(idle_api, 2), 409, "feature_gone")


async def test_what_another_tier_brings_with_it_is_put_back_too(idle_api: Api, conn: asyncpg.Connection) -> None:
    """Features that were the tenant's own then, and are the tier's now."""
    path = "/v1/tenants/acme_corp"
    await idle_api.client.patch(path, json={"subscription_tier": "enterprise"})
    names = await conn.fetchval("SELECT features_enabled FROM bf_shared.tenant_config")
    await idle_api.client.patch(path, json={"subscription_tier": "standard"})
    await conn.execute("UPDATE bf_shared.tenant_config SET features_enabled = $1", names)
    fourth = await _row(conn)
    await rollback(idle_api, 2)
    await conn.execute("DELETE FROM bf_control.tenant_feature")
    answer = await rollback(idle_api, 4)
    assert answer.status_code == 200, answer.text
    assert await _row(conn) == fourth
    assert (fourth["subscription_tier"], len(fourth["features_enabled"])) == ("standard", 8)
    assert {version["restored_version"] for version in (await versions(idle_api))[:2]} == {4}


async def test_a_version_that_the_table_does_not_take_any_more_is_409(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    await patch(idle_api, {"default_currency": "EUR"})
    await patch(idle_api, {"default_currency": "CHF"})
    await superuser.execute("DELETE FROM bf_control.currency WHERE code = 'EUR'")
    before = await tables.counts(superuser)
    problem(await rollback(idle_api, 2), 409, "version_refused")
    assert await tables.counts(superuser) == before


async def test_a_version_with_an_integration_that_is_not_taken_any_more_is_409(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await conn.execute(AS_BEFORE)
    await conn.execute("UPDATE bf_shared.tenant_config SET apg_integrations = '{\"teleport\": 1}'")
    await conn.execute("UPDATE bf_shared.tenant_config SET apg_integrations = '{}'")
    await conn.execute(AS_NOW)
    before = await tables.counts(superuser)
    problem(await rollback(idle_api, 2), 409, "version_refused")
    assert await tables.counts(superuser) == before


async def test_columns_that_come_and_go_do_not_stand_in_the_way(idle_api: Api, superuser: asyncpg.Connection) -> None:
    """A version that another release wrote."""
    await put(idle_api, OTHER)
    await superuser.execute("ALTER TABLE bf_shared.tenant_config ADD COLUMN to_come text NOT NULL DEFAULT 'new'")
    await superuser.execute(
        """UPDATE bf_control.tenant_config_history SET after = after || '{"gone": {"a": 1}}' WHERE version = 1"""
    )
    assert (await rollback(idle_api, 1)).status_code == 200
    assert await superuser.fetchval("SELECT to_come FROM bf_shared.tenant_config") == "new"
    await superuser.execute("UPDATE bf_shared.tenant_config SET to_come = 'other'")
    assert (await rollback(idle_api, 3)).status_code == 200
    assert await superuser.fetchval("SELECT to_come FROM bf_shared.tenant_config") == "new"


async def test_a_state_that_forbids_it_is_409(idle_api: Api, superuser: asyncpg.Connection) -> None:
    await put(idle_api, OTHER)
    await superuser.execute("UPDATE bf_control.tenant SET state = 'deleted'")
    body = problem(await rollback(idle_api, 1), 409, "tenant_state_forbids")
    assert body["state"] == "deleted"
    assert len(await versions(idle_api)) == 2, "its history can be read"


async def test_whatever_a_session_sets_as_context_makes_a_version(idle_api: Api, conn: asyncpg.Connection) -> None:
    for number, value in enumerate(("", "x", "-1", "1" * 40, "1.5"), start=1):
        async with conn.transaction():
            await conn.execute("SELECT set_config('bf.restored_version', $1, true)", value)
            await conn.execute("SELECT set_config('bf.reason', $1, true)", value * 600)
            await conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = $1", number)
    newest = (await versions(idle_api))[0]
    assert (newest["version"], newest["restored_version"], len(newest["reason"])) == (6, None, 500)
