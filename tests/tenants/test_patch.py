"""PATCH /v1/tenants/{id}: what names and bills a tenant, as a merge patch."""

import json
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from tests.support import tables
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp"
_CONTACT = "billing@acme.example"
_HISTORY = """
SELECT source, user_context, documents, before, after FROM bf_control.tenant_config_history ORDER BY id DESC LIMIT 1
"""
_AUDIT = """
SELECT actor, action, target, outcome, request_id, before, after FROM bf_control.audit ORDER BY id DESC LIMIT 1
"""

# A row of the registry is all that is asked of a tenant in these states.
_FORBIDDING = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, created_by)
SELECT concat('t_', state), 'T', concat('bf_t_', state), state, version, 'tests'
  FROM (VALUES ('provisioning', NULL), ('failed', NULL), ('deleted', 1), ('purging', 1)) AS s(state, version)
"""


@pytest.fixture
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)


async def _patch(api: Api, body: Any, *, path: str = _PATH, **params: str) -> httpx.Response:
    return await api.client.patch(path, json=body, params=params)


@pytest.mark.usefixtures("tenant")
async def test_each_member_is_set_and_the_others_stay(idle_api: Api, conn: asyncpg.Connection) -> None:
    before = (await idle_api.client.get(_PATH)).json()
    wanted = before
    for change in (
        {"tenant_name": "ACME Worldwide"},
        {"subscription_tier": "premium"},
        {"billing_contact": _CONTACT},
        {"tenant_name": "O'Reilly & Söhne 日本", "subscription_tier": "basic", "billing_contact": "x" * 255},
    ):
        answer = await _patch(idle_api, change)
        assert answer.status_code == 200, answer.text
        wanted = {**wanted, **change, "updated_at": answer.json()["updated_at"]}
        assert answer.json() == wanted
        assert answer.json()["updated_at"] > before["updated_at"]
        read = await idle_api.client.get(_PATH)
        assert (read.json(), read.headers["etag"]) == (wanted, answer.headers["etag"])
        columns = ("tenant_name", "subscription_tier", "billing_contact")
        row = await conn.fetchrow("SELECT tenant_name, subscription_tier, billing_contact FROM bf_shared.tenant_config")
        assert dict(row) == {name: wanted[name] for name in columns}


@pytest.mark.usefixtures("tenant")
async def test_null_clears_the_billing_contact_alone(idle_api: Api, conn: asyncpg.Connection) -> None:
    await _patch(idle_api, {"billing_contact": _CONTACT})
    answer = await _patch(idle_api, {"billing_contact": None})
    assert (answer.status_code, answer.json()["billing_contact"]) == (200, None)
    assert await conn.fetchval("SELECT billing_contact FROM bf_shared.tenant_config") is None
    for name in ("tenant_name", "subscription_tier"):
        errors = problem(await _patch(idle_api, {name: None}), 422, "validation_failed")["errors"]
        assert [error["pointer"] for error in errors] == [f"/{name}"]


@pytest.mark.usefixtures("tenant")
async def test_both_media_types_are_taken_and_no_other(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    raw = json.dumps({"tenant_name": "ACME Worldwide"})
    for kind in ("application/merge-patch+json", "application/json", "application/merge-patch+json; charset=utf-8"):
        with subtests.test(kind):
            answer = await idle_api.client.patch(_PATH, content=raw, headers={"Content-Type": kind})
            assert (answer.status_code, answer.json()["tenant_name"]) == (200, "ACME Worldwide")
    before = await tables.counts(superuser)
    for kind in ("text/plain", "application/xml", "application/x-www-form-urlencoded"):
        with subtests.test(kind):
            other = raw.replace("Worldwide", "Elsewhere")
            answer = await idle_api.client.patch(_PATH, content=other, headers={"Content-Type": kind})
            problem(answer, 415, "unsupported_media_type")
    with subtests.test("a JSON patch is none"):
        steps = json.dumps([{"op": "replace", "path": "/tenant_name", "value": "Elsewhere"}])
        headers = {"Content-Type": "application/json-patch+json"}
        problem(await idle_api.client.patch(_PATH, content=steps, headers=headers), 415, "unsupported_media_type")
    assert await tables.counts(superuser) == before


@pytest.mark.usefixtures("tenant")
async def test_a_wrong_member_is_422_and_changes_nothing(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before, read = await tables.counts(superuser), (await idle_api.client.get(_PATH)).json()
    for name, value in (
        ("state", "suspended"), ("tenant_id", "acme_corp"), ("config", {}), ("Tenant_name", "x"), ("", "x"),
        ("created_by", "me"), ("features_enabled", []), ("tenant_name", ""), ("tenant_name", " "),
        ("tenant_name", "x" * 256), ("tenant_name", "a\nb"), ("tenant_name", "a\0b"), ("tenant_name", 1),
        ("subscription_tier", "Gold!"), ("subscription_tier", ""), ("subscription_tier", "t" * 21),
        ("billing_contact", ""), ("billing_contact", "x" * 256), ("billing_contact", "a\0b"), ("billing_contact", {}),
    ):  # fmt: skip
        with subtests.test(f"{name}={value!r}"[:40]):
            body = {"tenant_name": "Other", name: value}
            errors = problem(await _patch(idle_api, body), 422, "validation_failed")["errors"]
            assert [error["pointer"] for error in errors] == [f"/{name}"]
    for raw in (b"", b"null", b"[]", b'"x"'):
        with subtests.test(repr(raw)):
            headers = {"Content-Type": "application/json"}
            problem(await idle_api.client.patch(_PATH, content=raw, headers=headers), 422, "validation_failed")
    assert await tables.counts(superuser) == before
    assert (await idle_api.client.get(_PATH)).json() == read


@pytest.mark.usefixtures("tenant")
async def test_credentials_are_refused_wherever_they_stand(idle_api: Api, superuser: asyncpg.Connection) -> None:
    before = await tables.counts(superuser)
    secret = "https://me:hush@pay.example/x"
    body = {"tenant_name": f"ACME {secret}", "billing_contact": secret, "subscription_tier": "premium"}
    answer = await _patch(idle_api, body)
    errors = problem(answer, 422, "validation_failed")["errors"]
    assert sorted(error["pointer"] for error in errors) == ["/billing_contact", "/tenant_name"]
    assert "hush" not in answer.text
    assert await tables.counts(superuser) == before
    assert (await _patch(idle_api, {"billing_contact": "https://pay.example/x"})).status_code == 200


@pytest.mark.usefixtures("tenant")
async def test_what_changes_nothing_leaves_no_trace(idle_api: Api, superuser: asyncpg.Connection) -> None:
    read = await idle_api.client.get(_PATH)
    before = await tables.counts(superuser)
    same = {name: read.json()[name] for name in ("tenant_name", "subscription_tier", "billing_contact")}
    for body in ({}, same, {"billing_contact": None}):
        answer = await _patch(idle_api, body)
        assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, read.json(), read.headers["etag"])
    assert await tables.counts(superuser) == before


@pytest.mark.usefixtures("tenant")
async def test_the_history_and_the_audit_trail_say_who_and_what(idle_api: Api, conn: asyncpg.Connection) -> None:
    key = await idle_api.key(Role.OPERATOR)
    actor = f"key:{key.partition('.')[0].removeprefix('bfk_')}"
    change = {"tenant_name": "ACME Worldwide", "billing_contact": _CONTACT}
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": "rename-1"}
    assert (await idle_api.client.patch(_PATH, json=change, headers=headers)).status_code == 200

    recorded = await conn.fetchrow(_HISTORY)
    assert (recorded["source"], recorded["user_context"], recorded["documents"]) == ("api", actor, ["tenant"])
    before, after = json.loads(recorded["before"]), json.loads(recorded["after"])
    assert {name: after[name] for name in after if after[name] != before[name]} == change

    audited = await conn.fetchrow(_AUDIT)
    assert tuple(audited)[:5] == (actor, "tenant.change", "tenant/acme_corp", "succeeded", "rename-1")
    assert json.loads(audited["before"]) == {"tenant_name": "ACME Corporation", "billing_contact": None}
    assert json.loads(audited["after"]) == change


@pytest.mark.usefixtures("tenant")
async def test_an_operator_s_update_in_sql_is_read_at_once_and_known_as_that(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    read = await idle_api.client.get(_PATH)
    await conn.execute(
        "UPDATE bf_shared.tenant_config SET tenant_name = 'By hand', billing_contact = 'dba@acme.example'"
    )
    again = await idle_api.client.get(_PATH)
    assert (again.json()["tenant_name"], again.json()["billing_contact"]) == ("By hand", "dba@acme.example")
    assert again.headers["etag"] != read.headers["etag"]
    recorded = await conn.fetchrow(_HISTORY)
    assert (recorded["source"], recorded["user_context"]) == ("sql", None)
    stale = await idle_api.client.patch(_PATH, json={"tenant_name": "Mine"}, headers={"If-Match": read.headers["etag"]})
    problem(stale, 412, "precondition_failed")


@pytest.mark.usefixtures("tenant")
async def test_a_suspended_tenant_is_changed_too(idle_api: Api, conn: asyncpg.Connection) -> None:
    await suspend(conn)
    answer = await _patch(idle_api, {"tenant_name": "ACME, resting"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["is_active"]) == ("suspended", False)
    assert await conn.fetchval("SELECT is_active FROM bf_shared.tenant_config") is False


async def test_states_that_forbid_it_are_409_with_those_that_allow_it(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    await conn.execute(_FORBIDDING)
    before = await tables.counts(superuser)
    for state in ("provisioning", "failed", "deleted", "purging"):
        for params in ({}, {"validate_only": "true"}):
            with subtests.test(state, **params):
                answer = await _patch(idle_api, {"tenant_name": "Other"}, path=f"/v1/tenants/t_{state}", **params)
                body = problem(answer, 409, "tenant_state_forbids")
                assert (body["state"], body["allowed_states"]) == (state, ["active", "suspended"])
    assert await tables.counts(superuser) == before


@pytest.mark.usefixtures("tenant")
async def test_a_dry_run_answers_as_it_would_be_and_leaves_nothing(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    read, before = await idle_api.client.get(_PATH), await tables.counts(superuser)
    answer = await _patch(idle_api, {"tenant_name": "Would be", "billing_contact": _CONTACT}, validate_only="true")
    assert answer.status_code == 200
    assert (answer.json()["tenant_name"], answer.json()["billing_contact"]) == ("Would be", _CONTACT)
    assert "etag" not in answer.headers
    stale = {"If-Match": '"stale"'}
    dry = await idle_api.client.patch(f"{_PATH}?validate_only=true", json={"tenant_name": "X"}, headers=stale)
    problem(dry, 412, "precondition_failed")
    problem(await _patch(idle_api, {"tenant_name": ""}, validate_only="true"), 422)
    again = await idle_api.client.get(_PATH)
    assert (again.json(), again.headers["etag"]) == (read.json(), read.headers["etag"])
    assert await tables.counts(superuser) == before


async def test_a_tenant_that_is_not_there_is_404(idle_api: Api, subtests: pytest.Subtests) -> None:
    for tenant_id in ("nobody", "NOBODY", "a", "pg_x", "x'y", "%20", "acme%00"):
        with subtests.test(tenant_id):
            problem(await _patch(idle_api, {}, path=f"/v1/tenants/{tenant_id}"), 404, "tenant_not_found")
    refused = await idle_api.client.patch("/v1/tenants/nobody", json={}, headers={"If-Match": "*"})
    problem(refused, 404, "tenant_not_found")
