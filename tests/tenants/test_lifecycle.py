"""Suspend, resume, delete and restore: what the database then refuses, and what each state allows."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.registry.model import TRANSITIONS, State, Transition, states_allowing
from app.schema.expected import ExpectedTenants
from tests.support import tables
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.data import make_tenant
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp"
_AUDIT = """
SELECT actor, action, target, outcome, request_id, before, after FROM bf_control.audit ORDER BY id DESC LIMIT 1
"""
_MAY_USE = "SELECT has_schema_privilege('app_role', 'bf_acme_corp', 'USAGE')"
_IN_EACH_STATE = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, created_by)
SELECT concat('t_', state), 'T', concat('bf_t_', state), state, version, 'tests'
  FROM (VALUES ('provisioning', NULL), ('failed', NULL), ('purging', 1)) AS s(state, version)
"""
_IMMEDIATE = [Transition.SUSPEND, Transition.RESUME, Transition.DELETE, Transition.RESTORE]


@pytest.fixture
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)


@pytest.fixture
async def application(cluster: Cluster, superuser: asyncpg.Connection, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A session of an application, which was there before."""
    name, password = f"application_{secrets.token_hex(4)}", secrets.token_hex(8)
    await superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE app_role")
    session = await asyncpg.connect(cluster.dsn(dsn.rpartition("/")[2], name, password))
    yield session
    await session.close()
    await superuser.execute(f"DROP ROLE {name}")


async def _ask(api: Api, transition: str, *, path: str = _PATH, reason: str | None = None, **params: Any) -> Any:
    if transition == "delete":
        return await api.client.delete(path, params={**params, **({} if reason is None else {"reason": reason})})
    return await api.client.post(
        f"{path}/{transition}", json={} if reason is None else {"reason": reason}, params=params
    )


async def _moved(api: Api, transition: str, **others: Any) -> dict[str, Any]:
    answer = await _ask(api, transition, **others)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    read = await api.client.get(_PATH)
    if not others.get("validate_only"):
        assert (read.json(), read.headers["etag"]) == (body, answer.headers["etag"])
    return body


@pytest.mark.usefixtures("tenant")
async def test_a_session_that_is_connected_is_refused_at_its_next_statement(
    idle_api: Api, application: asyncpg.Connection
) -> None:
    count, context = (
        "SELECT count(*) FROM bf_acme_corp.budgets",
        "SELECT bf_shared.set_tenant_context('acme_corp', 'u')",
    )
    async with application.transaction():
        await application.execute(context)
        assert await application.fetchval(count) == 0
        assert (await _moved(idle_api, "suspend"))["is_active"] is False
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="schema bf_acme_corp"):
            async with application.transaction():
                await application.fetchval("SELECT count(*) FROM bf_acme_corp.forecasts")
        with pytest.raises(asyncpg.UndefinedTableError):
            async with application.transaction():
                await application.fetchval("SELECT count(*) FROM budgets WHERE is_deleted")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="is not active"):
        await application.execute(context)
    assert (await _moved(idle_api, "resume"))["is_active"] is True
    async with application.transaction():
        await application.execute(context)
        assert await application.fetchval(count) == 0


@pytest.mark.usefixtures("tenant")
async def test_the_state_the_flag_and_the_grant_go_together(idle_api: Api, conn: asyncpg.Connection) -> None:
    both = "SELECT t.state, c.is_active FROM bf_control.tenant t JOIN bf_shared.tenant_config c USING (tenant_id)"
    for transition, state in (
        ("suspend", "suspended"), ("resume", "active"), ("delete", "deleted"), ("restore", "active"),
        ("suspend", "suspended"), ("delete", "deleted"), ("restore", "suspended"), ("resume", "active"),
    ):  # fmt: skip
        body = await _moved(idle_api, transition)
        active = state == "active"
        assert (body["state"], body["is_active"]) == (state, active)
        assert tuple(await conn.fetchrow(both)) == (state, active)
        assert await conn.fetchval(_MAY_USE) is active
        assert await conn.fetchval("SELECT has_schema_privilege('audit_role', 'bf_acme_corp', 'USAGE')")


@pytest.mark.usefixtures("tenant")
async def test_the_expected_catalogue_knows_the_state(
    conn: asyncpg.Connection, expected: ExpectedTenants, idle_api: Api
) -> None:
    version = await conn.fetchval("SELECT schema_version FROM bf_control.tenant")
    await expected.prepare(version)

    async def difference() -> Any:
        async with idle_api.database.transaction() as reading:
            return await expected.difference(
                reading, tenant_id="acme_corp", schema_name="bf_acme_corp", version=version
            )

    for transition in ("suspend", "delete", "restore", "resume"):
        await _moved(idle_api, transition)
        assert (await difference()).ok
    await _moved(idle_api, "suspend")
    await conn.execute("GRANT USAGE ON SCHEMA bf_acme_corp TO app_role")
    assert [str(one) for one in (await difference()).extra] == ["schema grant  USAGE to app_role"]
    await _moved(idle_api, "resume")
    await conn.execute("REVOKE USAGE ON SCHEMA bf_acme_corp FROM app_role")
    assert [str(one) for one in (await difference()).missing] == ["schema grant  USAGE to app_role"]


@pytest.mark.usefixtures("tenant")
async def test_deleting_keeps_everything_until_the_purge_time(idle_api: Api, conn: asyncpg.Connection) -> None:
    before = (await idle_api.client.get(_PATH)).json()
    body = await _moved(idle_api, "delete", reason="they left")
    assert (body["state"], body["state_reason"]) == ("deleted", "they left")
    left = datetime.fromisoformat(body["purge_time"]) - datetime.now(UTC)
    assert timedelta(days=30) - timedelta(minutes=1) < left <= timedelta(days=30)
    assert await conn.fetchval("SELECT to_regclass('bf_acme_corp.budgets') IS NOT NULL")
    assert (await idle_api.client.get("/v1/tenants")).json()["items"] == []
    listed = (await idle_api.client.get("/v1/tenants", params={"state": "deleted"})).json()["items"]
    assert listed == [body]
    problem(await idle_api.client.patch(_PATH, json={"tenant_name": "x"}), 409, "tenant_state_forbids")

    restored = await _moved(idle_api, "restore", reason="they came back")
    changed = {"updated_at", "state_reason", "state_changed_at", "state_changed_by"}
    assert {name for name in before if before[name] != restored[name]} == changed
    assert (restored["purge_time"], restored["state_reason"]) == (None, "they came back")


@pytest.mark.usefixtures("tenant")
async def test_deleting_what_is_deleted_is_answered_and_leaves_no_trace(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    body, before = await _moved(idle_api, "delete", reason="first"), await tables.counts(superuser)
    assert await _moved(idle_api, "delete", reason="second") == body
    assert await tables.counts(superuser) == before


@pytest.mark.usefixtures("tenant")
async def test_what_a_state_forbids_is_409_with_what_is_allowed(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    await conn.execute(_IN_EACH_STATE)
    for state, tenant_id in (("active", "t_active"), ("suspended", "t_suspended"), ("deleted", "t_deleted")):
        await make_tenant(conn, tenant_id)
        if state != "active":
            await conn.execute(
                f"SELECT bf_shared.{state[:-2] if state == 'suspended' else 'delete'}_tenant('{tenant_id}')"
            )
    before = await tables.counts(superuser)
    for state in State:
        for transition in _IMMEDIATE:
            if transition in TRANSITIONS[state] or (state, transition) == ("deleted", "delete"):
                continue
            for params in ({}, {"validate_only": "true"}):
                with subtests.test(f"{transition} {state}", **params):
                    answer = await _ask(idle_api, transition, path=f"/v1/tenants/t_{state}", **params)
                    body = problem(answer, 409, "tenant_state_forbids")
                    assert body["state"] == state
                    assert body["allowed_states"] == sorted(states_allowing(transition))
                    assert body["allowed_transitions"] == sorted(TRANSITIONS[state])
    assert await tables.counts(superuser) == before


async def test_the_functions_in_sql_allow_what_the_table_says(
    conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    for state in State:
        for transition in _IMMEDIATE:
            with subtests.test(f"{transition} {state}"):
                attempt = conn.transaction()
                await attempt.start()
                await make_tenant(conn, "acme")
                await conn.execute(
                    "UPDATE bf_control.tenant SET state = $1, schema_version = CASE WHEN $2 THEN 1 END",
                    state,
                    state not in {State.PROVISIONING, State.FAILED},
                )
                if state is not State.ACTIVE:
                    await conn.execute("ALTER TABLE bf_shared.tenant_config DISABLE TRIGGER USER")
                    await conn.execute("UPDATE bf_shared.tenant_config SET is_active = false")
                    await conn.execute("ALTER TABLE bf_shared.tenant_config ENABLE TRIGGER USER")
                call = f"SELECT bf_shared.{transition}_tenant('acme')"
                if transition in TRANSITIONS[state]:
                    await conn.execute(call)
                    reached = await conn.fetchval("SELECT state FROM bf_control.tenant")
                    assert reached == (TRANSITIONS[state][transition] or "active")
                else:
                    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match=f"acme is {state}"):
                        await conn.execute(call)
                await attempt.rollback()


@pytest.mark.usefixtures("tenant")
async def test_sql_s_functions_record_who_and_why(conn: asyncpg.Connection) -> None:
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp', 'unpaid')")
    row = await conn.fetchrow(_AUDIT)
    assert tuple(row)[:5] == ("bf_migrator", "tenant.suspend", "tenant/acme_corp", "succeeded", None)
    assert (json.loads(row["before"]), json.loads(row["after"])) == (
        {"state": "active"},
        {"state": "suspended", "reason": "unpaid"},
    )
    async with conn.transaction():
        await conn.execute("SELECT set_config('app.current_user_id', 'anna', true)")
        await conn.execute("SELECT bf_shared.resume_tenant('acme_corp')")
    assert (await conn.fetchrow(_AUDIT))["actor"] == "anna"
    assert await conn.fetchval("SELECT state_changed_by FROM bf_control.tenant") == "anna"
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp', grace => '1 hour')")
    assert await conn.fetchval("SELECT purge_time - state_changed_at FROM bf_control.tenant") == timedelta(hours=1)
    with pytest.raises(asyncpg.NoDataFoundError, match="no tenant 'nobody'"):
        await conn.execute("SELECT bf_shared.suspend_tenant('nobody')")
    with pytest.raises(asyncpg.CheckViolationError, match="no credentials"):
        await conn.execute("SELECT bf_shared.restore_tenant('acme_corp', 'see https://me:hush@pay.example/x')")


@pytest.mark.usefixtures("tenant")
async def test_the_audit_trail_and_the_history_say_who_and_why(idle_api: Api, conn: asyncpg.Connection) -> None:
    key = await idle_api.key(Role.OPERATOR)
    actor = f"key:{key.partition('.')[0].removeprefix('bfk_')}"
    headers = {"Authorization": f"Bearer {key}", "X-Request-ID": "suspend-1"}
    answer = await idle_api.client.post(f"{_PATH}/suspend", json={"reason": "unpaid"}, headers=headers)
    assert (answer.json()["state_reason"], answer.json()["state_changed_by"]) == ("unpaid", actor)
    row = await conn.fetchrow(_AUDIT)
    assert tuple(row)[:5] == (actor, "tenant.suspend", "tenant/acme_corp", "succeeded", "suspend-1")
    assert json.loads(row["after"]) == {"state": "suspended", "reason": "unpaid"}
    history = await conn.fetchrow(
        "SELECT source, user_context, documents FROM bf_control.tenant_config_history ORDER BY id DESC LIMIT 1"
    )
    assert tuple(history) == ("api", actor, ["tenant"])


@pytest.mark.usefixtures("tenant")
async def test_credentials_in_a_reason_are_refused(idle_api: Api, superuser: asyncpg.Connection) -> None:
    before = await tables.counts(superuser)
    answer = await _ask(idle_api, "suspend", reason="see https://me:hush@pay.example/x")
    assert problem(answer, 422, "validation_failed")["errors"][0]["pointer"] == "/reason"
    assert "hush" not in answer.text
    assert await tables.counts(superuser) == before


@pytest.mark.usefixtures("tenant")
async def test_a_wrong_body_is_422(idle_api: Api, subtests: pytest.Subtests) -> None:
    for body in (
        {"reason": ""},
        {"reason": " "},
        {"reason": "x" * 501},
        {"reason": "a\0b"},
        {"reason": 1},
        {"why": "x"},
    ):
        with subtests.test(str(body)[:30]):
            problem(await idle_api.client.post(f"{_PATH}/suspend", json=body), 422, "validation_failed")
    problem(await idle_api.client.delete(_PATH, params={"reason": ""}), 422, "validation_failed")
    problem(await idle_api.client.delete(_PATH, params={"force": "true"}), 422, "validation_failed")
    assert (await idle_api.client.post(f"{_PATH}/suspend")).status_code == 200, "a body is not needed"


@pytest.mark.usefixtures("tenant")
async def test_a_dry_run_answers_as_it_would_be_and_leaves_nothing(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    read, before = (await idle_api.client.get(_PATH)).json(), await tables.counts(superuser)
    for transition, state in (("suspend", "suspended"), ("delete", "deleted")):
        answer = await _ask(idle_api, transition, validate_only="true")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
        assert "etag" not in answer.headers
    assert (await idle_api.client.get(_PATH)).json() == read
    assert await conn.fetchval(_MAY_USE)
    assert await tables.counts(superuser) == before


@pytest.mark.usefixtures("tenant")
async def test_a_repeated_request_with_its_key_is_answered_again(idle_api: Api) -> None:
    headers = {"Idempotency-Key": "once"}
    answers = [await idle_api.client.post(f"{_PATH}/suspend", json={}, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert answers[1].headers["idempotent-replayed"] == "true"
    other = await idle_api.client.post(f"{_PATH}/suspend", json={"reason": "another"}, headers=headers)
    problem(other, 422, "idempotency_key_reused")


@pytest.mark.usefixtures("tenant")
async def test_if_match_guards_against_somebody_else_s_change(idle_api: Api) -> None:
    stale = {"If-Match": '"stale"'}
    problem(await idle_api.client.delete(_PATH, headers=stale), 412, "precondition_failed")
    problem(await idle_api.client.post(f"{_PATH}/suspend", json={}, headers=stale), 412, "precondition_failed")
    fresh = {"If-Match": (await idle_api.client.get(_PATH)).headers["etag"]}
    assert (await idle_api.client.delete(_PATH, headers=fresh)).status_code == 200


@pytest.mark.usefixtures("tenant")
async def test_of_many_at_once_one_is_done(idle_api: Api, conn: asyncpg.Connection) -> None:
    answers: list[httpx.Response] = await asyncio.gather(*(_ask(idle_api, "suspend") for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    assert await conn.fetchval("SELECT count(*) FROM bf_control.audit WHERE action = 'tenant.suspend'") == 1
    mixed = await asyncio.gather(*(_ask(idle_api, name) for name in ("resume", "delete") for _ in range(4)))
    assert {answer.status_code for answer in mixed} <= {200, 409}
    state = (await idle_api.client.get(_PATH)).json()["state"]
    assert await conn.fetchval(_MAY_USE) is (state == "active")


@pytest.mark.usefixtures("tenant")
async def test_a_direct_update_of_the_configuration_and_a_suspension_wait_for_each_other(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    """Both lock the configuration's row first: neither is a deadlock."""
    for number in range(5):
        change = conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = $1", number)
        answers = await asyncio.gather(_ask(idle_api, "suspend"), change)
        assert answers[0].status_code == 200, answers[0].text
        await _moved(idle_api, "resume")


@pytest.mark.usefixtures("tenant")
async def test_a_suspended_tenant_keeps_its_keys(idle_api: Api) -> None:
    key = await idle_api.key(Role.VIEWER, tenant_id="acme_corp")
    await _moved(idle_api, "suspend")
    read = await idle_api.client.get(_PATH, headers={"Authorization": f"Bearer {key}"})
    assert (read.status_code, read.json()["state"]) == (200, "suspended")


async def test_a_tenant_that_is_not_there_is_404(idle_api: Api, subtests: pytest.Subtests) -> None:
    for transition in _IMMEDIATE:
        for tenant_id in ("nobody", "NOBODY", "x'y", "acme%00"):
            with subtests.test(f"{transition} {tenant_id}"):
                answer = await _ask(idle_api, transition, path=f"/v1/tenants/{tenant_id}")
                problem(answer, 404, "tenant_not_found")
