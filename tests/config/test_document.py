"""GET, PUT and PATCH /v1/tenants/{id}/config."""

import json
from typing import Any

import asyncpg
import pytest

from app.apikeys.model import Role
from app.config.model import DEFAULTS
from tests.config.support import OTHER, PATH, get, patch, put
from tests.support import tables
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.problems import problem

_AUDIT = "SELECT actor, action, target, outcome, before, after FROM bf_control.audit ORDER BY id DESC LIMIT 1"
_HISTORY = """
SELECT source, user_context, documents FROM bf_control.tenant_config_history ORDER BY id DESC LIMIT 1
"""
_FORBIDDING = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, created_by)
SELECT concat('t_', state), 'T', concat('bf_t_', state), state, version, 'tests'
  FROM (VALUES ('provisioning', NULL), ('failed', NULL), ('deleted', 1), ('purging', 1)) AS s(state, version)
"""


@pytest.fixture(autouse=True)
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)


async def _row(conn: asyncpg.Connection) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(await conn.fetchval("SELECT to_jsonb(c) FROM bf_shared.tenant_config c"))
    return row


async def test_a_new_tenant_has_the_defaults(idle_api: Api, conn: asyncpg.Connection) -> None:
    read = await get(idle_api)
    assert read.json() == DEFAULTS
    row = await _row(conn)
    assert {name: row[name] for name in DEFAULTS} == DEFAULTS
    known = await idle_api.client.get(PATH, headers={"If-None-Match": read.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")


async def test_put_replaces_the_whole_of_it(idle_api: Api, conn: asyncpg.Connection) -> None:
    other = await _row(conn)
    tag = (await get(idle_api)).headers["etag"]
    answer = await put(idle_api, OTHER, tag)
    assert (answer.status_code, answer.json()) == (200, OTHER), answer.text
    read = await get(idle_api)
    assert (read.json(), read.headers["etag"]) == (OTHER, answer.headers["etag"])
    row = await _row(conn)
    assert {name: row[name] for name in OTHER} == OTHER
    rest = other.keys() - OTHER.keys() - {"updated_at"}
    assert {name: row[name] for name in rest} == {name: other[name] for name in rest}

    some = {"default_currency": "CHF", "time_zone": None}
    answer = await put(idle_api, some, answer.headers["etag"])
    assert answer.json() == {**DEFAULTS, "default_currency": "CHF"}, "what is left out has its default"


async def test_what_was_read_can_be_put_back(idle_api: Api, superuser: asyncpg.Connection) -> None:
    await put(idle_api, OTHER)
    read, before = await get(idle_api), await tables.counts(superuser)
    again = await put(idle_api, read.json(), read.headers["etag"])
    assert (again.status_code, again.headers["etag"]) == (200, read.headers["etag"])
    assert await tables.counts(superuser) == before, "what changes nothing leaves no trace"


async def test_creation_takes_the_same_document(api: Api) -> None:
    made = await api.provision("by_post", config=OTHER)
    assert made.status_code == 201, made.text
    assert (await get(api, "/v1/tenants/by_post/config")).json() == OTHER
    assert (await api.client.get("/v1/tenants/by_post?view=full")).json()["config"] == OTHER
    nulls = await api.provision("by_nulls", config=dict.fromkeys(OTHER))
    assert nulls.status_code == 201
    assert (await get(api, "/v1/tenants/by_nulls/config")).json() == DEFAULTS


async def test_put_needs_if_match_and_the_right_one(idle_api: Api) -> None:
    read = await get(idle_api)
    problem(await put(idle_api, OTHER, None), 428, "precondition_required")
    problem(await put(idle_api, OTHER, None, validate_only="true"), 428, "precondition_required")
    for stale in ('"stale"', f"W/{read.headers['etag']}"):
        problem(await put(idle_api, OTHER, stale), 412, "precondition_failed")
        problem(await patch(idle_api, {"audit_level": "basic"}, stale), 412, "precondition_failed")
    problem(await put(idle_api, OTHER, "stale"), 400, "invalid_entity_tag")
    assert (await get(idle_api)).json() == read.json()
    assert (await patch(idle_api, {"audit_level": "basic"}, read.headers["etag"])).status_code == 200


@pytest.mark.parametrize("name", OTHER)
async def test_patch_sets_one_member_and_null_gives_it_its_default(idle_api: Api, name: str) -> None:
    answer = await patch(idle_api, {name: OTHER[name]})
    assert (answer.status_code, answer.json()) == (200, {**DEFAULTS, name: OTHER[name]}), answer.text
    assert (await get(idle_api)).headers["etag"] == answer.headers["etag"]
    assert (await patch(idle_api, {name: None})).json() == DEFAULTS


async def test_patch_merges_objects_and_replaces_arrays(idle_api: Api, subtests: pytest.Subtests) -> None:
    """The examples of RFC 7396's appendix that have objects, inside a member."""
    for target, change, wanted in (
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1, None]}, {"a": [1, None]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        ({"a": {"b": {"c": 1}}}, {}, {"a": {"b": {"c": 1}}}),
    ):
        with subtests.test(f"{target} {change}"):
            await put(idle_api, {"budget_features": target})
            answer = await patch(idle_api, {"budget_features": change})
            assert answer.json() == {**DEFAULTS, "budget_features": wanted}, answer.text
    await put(idle_api, {"cost_centers": [{"a": 1}, 2]})
    assert (await patch(idle_api, {"cost_centers": [{"b": 1}]})).json()["cost_centers"] == [{"b": 1}]


async def test_a_merge_leaves_numbers_that_no_double_holds_as_they_are(idle_api: Api, conn: asyncpg.Connection) -> None:
    exact = "12345678901234567890.123456789"
    await conn.execute("UPDATE bf_shared.tenant_config SET budget_features = $1", f'{{"exact": {exact}, "a": 1e400}}')
    assert (await patch(idle_api, {"budget_features": {"b": 1}})).status_code == 200
    stored = await conn.fetchrow(
        """SELECT budget_features ->> 'exact', budget_features -> 'a' = '1e400', budget_features -> 'b' = '1'
             FROM bf_shared.tenant_config"""
    )
    assert tuple(stored) == (exact, True, True)


_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"default_currency": "XXX"}, "/default_currency"),
    ({"default_currency": "eur"}, "/default_currency"),
    ({"time_zone": "Mars/Olympus"}, "/time_zone"),
    ({"time_zone": "utc; --"}, "/time_zone"),
    ({"fiscal_year_start": "2025-02-30"}, "/fiscal_year_start"),
    ({"fiscal_year_start": "0000-01-01"}, "/fiscal_year_start"),
    ({"fiscal_year_start": "2025-1-1"}, "/fiscal_year_start"),
    ({"fiscal_year_start": "infinity"}, "/fiscal_year_start"),
    ({"fiscal_year_start": 20250101}, "/fiscal_year_start"),
    ({"data_retention_days": 0}, "/data_retention_days"),
    ({"data_retention_days": 36501}, "/data_retention_days"),
    ({"data_retention_days": "365"}, "/data_retention_days"),
    ({"data_retention_days": True}, "/data_retention_days"),
    ({"data_retention_days": 1.5}, "/data_retention_days"),
    ({"encryption_enabled": "yes"}, "/encryption_enabled"),
    ({"encryption_enabled": 1}, "/encryption_enabled"),
    ({"audit_level": ""}, "/audit_level"),
    ({"audit_level": "UTTER"}, "/audit_level"),
    ({"audit_level": "a" * 21}, "/audit_level"),
    ({"cost_centers": {}}, "/cost_centers"),
    ({"budget_features": []}, "/budget_features"),
    ({"budget_features": "x"}, "/budget_features"),
    ({"budget_features": {"a": "\0"}}, "/budget_features/a"),
    ({"external_systems": {"erp": {"password": "x"}}}, "/external_systems"),
    ({"cost_centers": [{"url": "https://me:hush@erp.example/"}]}, "/cost_centers"),
    ({"tenant_name": "x"}, "/tenant_name"),
    ({"features_enabled": []}, "/features_enabled"),
    ({"max_budget_lines": 1}, "/max_budget_lines"),
    ({"a/b~c": 1}, "/a~1b~0c"),
]


async def test_what_would_make_it_invalid_is_422_and_named(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before, read = await tables.counts(superuser), (await get(idle_api)).json()
    for body, pointer in _WRONG:
        for send in (put, patch):
            with subtests.test(str(body)[:60], how=send.__name__):
                answer = await send(idle_api, {"audit_level": "basic", **body})
                errors = problem(answer, 422, "validation_failed")["errors"]
                assert [error["pointer"] for error in errors] == [pointer]
                assert "hush" not in answer.text
    for raw in (b"", b"null", b"[]", b'"x"'):
        headers = {"Content-Type": "application/json", "If-Match": "*"}
        for method in ("PUT", "PATCH"):
            answer = await idle_api.client.request(method, PATH, content=raw, headers=headers)
            problem(answer, 422, "validation_failed")
    assert (await get(idle_api)).json() == read
    assert await tables.counts(superuser) == before


async def test_a_credential_cannot_be_merged_in(idle_api: Api) -> None:
    await put(idle_api, {"external_systems": {"erp": {"kind": "sap"}}})
    answer = await patch(idle_api, {"external_systems": {"erp": {"api_key": "x"}}})
    errors = problem(answer, 422, "validation_failed")["errors"]
    assert errors == [{"pointer": "/external_systems", "detail": "must not hold credentials"}]


async def test_a_row_that_the_database_does_not_take_any_more_is_422_until_it_is_mended(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    """A currency that is no longer in use."""
    await put(idle_api, OTHER)
    await superuser.execute("DELETE FROM bf_control.currency WHERE code = 'EUR'")
    told = problem(await patch(idle_api, {"audit_level": "detailed"}), 422, "validation_failed")
    assert told["detail"] == "The database does not take a value that is part of this configuration."
    assert (await patch(idle_api, {"default_currency": "USD", "audit_level": "detailed"})).status_code == 200


async def test_the_history_and_the_audit_trail_say_who_and_what(idle_api: Api, conn: asyncpg.Connection) -> None:
    key = await idle_api.key(Role.OPERATOR)
    actor = f"key:{key.partition('.')[0].removeprefix('bfk_')}"
    idle_api.client.headers["Authorization"] = f"Bearer {key}"
    await patch(idle_api, {"default_currency": "EUR", "budget_features": {"a": 1}, "audit_level": "detailed"})
    assert tuple(await conn.fetchrow(_HISTORY)) == ("api", actor, ["configuration"])
    audited = await conn.fetchrow(_AUDIT)
    assert tuple(audited)[:4] == (actor, "tenant.configure", "tenant/acme_corp", "succeeded")
    assert json.loads(audited["before"]) == {"default_currency": "USD", "budget_features": {}}
    assert json.loads(audited["after"]) == {"default_currency": "EUR", "budget_features": {"a": 1}}


async def test_a_dry_run_answers_as_it_would_be_and_leaves_nothing(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    read, before = await get(idle_api), await tables.counts(superuser)
    for answer in (
        await put(idle_api, OTHER, read.headers["etag"], validate_only="true"),
        await patch(idle_api, OTHER, validate_only="true"),
    ):
        assert (answer.status_code, answer.json()) == (200, OTHER)
        assert "etag" not in answer.headers
    problem(await put(idle_api, OTHER, '"stale"', validate_only="true"), 412, "precondition_failed")
    problem(await patch(idle_api, {"default_currency": "XXX"}, validate_only="true"), 422, "validation_failed")
    assert (await get(idle_api)).headers["etag"] == read.headers["etag"]
    assert await tables.counts(superuser) == before


async def test_the_tag_is_of_this_document_alone(idle_api: Api, conn: asyncpg.Connection) -> None:
    tag = (await get(idle_api)).headers["etag"]
    await conn.execute("""UPDATE bf_shared.tenant_config SET max_budget_lines = 5, features_enabled = '["a1"]'""")
    assert (await get(idle_api)).headers["etag"] == tag
    await conn.execute("UPDATE bf_shared.tenant_config SET default_currency = 'EUR'")
    read = await get(idle_api)
    assert (read.headers["etag"] == tag, read.json()["default_currency"]) == (False, "EUR")
    problem(await put(idle_api, OTHER, tag), 412, "precondition_failed")


async def test_a_suspended_tenant_is_configured_too(idle_api: Api, conn: asyncpg.Connection) -> None:
    await suspend(conn)
    assert (await put(idle_api, OTHER)).json() == OTHER
    assert await conn.fetchval("SELECT is_active FROM bf_shared.tenant_config") is False


async def test_states_that_forbid_it_are_409_and_before_there_is_a_schema_there_is_nothing_to_read(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    await conn.execute(_FORBIDDING)
    before = await tables.counts(superuser)
    for state in ("provisioning", "failed", "deleted", "purging"):
        path = f"/v1/tenants/t_{state}/config"
        with subtests.test(state):
            for method in ("PUT", "PATCH"):
                answer = await idle_api.client.request(method, path, json=OTHER, headers={"If-Match": '"stale"'})
                body = problem(answer, 409, "tenant_state_forbids")
                assert (body["state"], body["allowed_states"]) == (state, ["active", "suspended"])
            problem(await idle_api.client.get(path), 404, "configuration_not_found")
    assert await tables.counts(superuser) == before


async def test_a_tenant_that_is_not_there_is_404(idle_api: Api, subtests: pytest.Subtests) -> None:
    for tenant_id in ("nobody", "NOBODY", "a", "pg_x", "x'y", "acme%00"):
        with subtests.test(tenant_id):
            path = f"/v1/tenants/{tenant_id}/config"
            problem(await idle_api.client.get(path), 404, "tenant_not_found")
            problem(await idle_api.client.patch(path, json={}), 404, "tenant_not_found")
            problem(await idle_api.client.put(path, json={}, headers={"If-Match": "*"}), 404, "tenant_not_found")


async def test_a_reader_of_its_own_tenant_may_read_it_and_no_more(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "foreign")
    own = {"Authorization": f"Bearer {await idle_api.key(Role.READER, tenant_id='acme_corp')}"}
    anyone = {"Authorization": f"Bearer {await idle_api.key(Role.READER)}"}
    assert (await idle_api.client.get(PATH, headers=own)).status_code == 200
    problem(await idle_api.client.get(PATH, headers=anyone), 403, "forbidden")
    problem(await idle_api.client.get("/v1/tenants/foreign/config", headers=own), 404, "tenant_not_found")
    problem(await idle_api.client.get(f"{PATH}/history", headers=own), 403, "forbidden")
    problem(await idle_api.client.patch(PATH, json={}, headers=own), 403, "forbidden")
