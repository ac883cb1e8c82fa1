"""POST /v1/schema/downgrade: a plan, its confirmation, and all of it gone but what the service knows."""

import asyncio
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.operations.service import requeue_lost as requeue
from app.settings import Settings
from tests.support import gates, oracle
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, schemas, settings_for
from tests.support.polling import ended
from tests.support.problems import problem
from tests.support.workers import impatient_worker

_PATH = "/v1/schema/downgrade"
_WAIT = {"Prefer": "wait=20"}
_KEPT = {"bf_control", "bf_queue"}
# Names that only look like ours.
_DECOYS = {"bfx_other", "bf_Mixed", "bf"}
_MAKE_DECOYS = """
CREATE SCHEMA bfx_other; CREATE TABLE bfx_other.budgets AS SELECT 1 AS n;
CREATE SCHEMA "bf_Mixed"; CREATE TABLE "bf_Mixed".budgets AS SELECT 2 AS n;
CREATE SCHEMA bf; CREATE TABLE bf.tenant_config AS SELECT 3 AS n;
"""
_DECOY_ROWS = """
SELECT n FROM bfx_other.budgets UNION ALL SELECT n FROM "bf_Mixed".budgets UNION ALL SELECT n FROM bf.tenant_config
"""
_OFFERED = "SELECT count(*) FROM bf_control.plan WHERE used_at IS NULL"
_STORED = "SELECT count(*) FROM bf_control.operation"


@pytest.fixture
async def fleet(conn: asyncpg.Connection) -> list[str]:
    names = ["t1", "t2", "t3"]
    for name in names:
        await make_tenant(conn, name)
    return names


async def _plan(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.post(_PATH, json={})
    assert response.status_code == 200, response.text
    plan: dict[str, Any] = response.json()
    return plan


async def _confirm(client: httpx.AsyncClient, token: str, **headers: str) -> httpx.Response:
    return await client.post(_PATH, json={"confirmation": token}, headers=headers)


async def _confirmed(client: httpx.AsyncClient) -> str:
    """The location of a downgrade that was accepted."""
    response = await _confirm(client, (await _plan(client))["confirmation"])
    assert response.status_code == 202, response.text
    assert response.headers["location"] == "/v1/schema"
    location: str = response.headers["operation-location"]
    return location


async def _nothing_happened(conn: asyncpg.Connection, before: set[str]) -> None:
    assert await schemas(conn) == before
    assert await conn.fetchval(_STORED) == 0


async def test_a_plan_drops_nothing_and_its_confirmation_everything_but_the_records(
    api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await superuser.execute(_MAKE_DECOYS)
    for name in ("acme_corp", "zeta"):
        assert (await api.provision(name)).status_code == 201
    before = await schemas(conn)
    plan = await _plan(api.client)
    assert plan["database"] == await conn.fetchval("SELECT current_database()")
    assert [(t["tenant_id"], t["schema_name"]) for t in plan["tenants"]] == [
        ("acme_corp", "bf_acme_corp"),
        ("zeta", "bf_zeta"),
    ]
    assert plan["bytes"] == sum(tenant["bytes"] for tenant in plan["tenants"])
    assert (plan["blockers"], await schemas(conn)) == ([], before)
    assert plan["expires_at"] is not None
    preview = await api.client.post(
        _PATH, params={"validate_only": "true"}, json={"confirmation": plan["confirmation"]}
    )
    assert (preview.status_code, preview.json()["confirmation"], await schemas(conn)) == (200, None, before)

    done = await _confirm(api.client, plan["confirmation"], **_WAIT)
    assert (done.status_code, done.headers["preference-applied"]) == (200, "wait=20")
    assert (done.json()["up_to_date"], done.json()["current"]["shared"]) == (False, None)
    assert await schemas(conn) == _KEPT | _DECOYS
    assert [row["n"] for row in await superuser.fetch(_DECOY_ROWS)] == [1, 2, 3]
    operation = (await api.client.get(done.headers["operation-location"])).json()
    assert (operation["kind"], operation["status"]) == ("schema.downgrade", "succeeded")
    assert operation["progress"] == {"done": 2, "total": 2}
    assert operation["result"]["tenants_dropped"] == 2
    assert [step["status"] for step in operation["steps"]] == ["succeeded"]
    listed = (await api.client.get("/v1/operations")).json()["items"]
    assert [item["kind"] for item in listed] == ["schema.downgrade", "tenant.provision", "tenant.provision"]
    assert (await api.client.get("/v1/tenants")).json() == {"items": []}
    problem(await api.client.get("/v1/tenants/zeta"), 404, "tenant_not_found")
    problem(await _confirm(api.client, plan["confirmation"]), 409, "confirmation_invalid")
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn(), others=_DECOYS)


async def test_after_a_downgrade_an_upgrade_and_the_same_tenants_are_as_new(
    api: Api, settings: Settings, conn: asyncpg.Connection
) -> None:
    assert (await api.provision(features_enabled=["ai_insights"], billing_contact="a@b.example")).status_code == 201
    assert (await _confirm(api.client, (await _plan(api.client))["confirmation"], **_WAIT)).status_code == 200
    problem(
        await api.client.post("/v1/tenants", json={"tenant_id": "t1", "tenant_name": "T"}), 409, "schema_not_installed"
    )
    # There is nothing left to drop, and to say so is no error.
    assert (await _confirm(api.client, (await _plan(api.client))["confirmation"], **_WAIT)).status_code == 200
    upgraded = await api.client.post("/v1/schema/upgrade", headers=_WAIT)
    assert (upgraded.status_code, upgraded.json()["up_to_date"]) == (200, True)
    for name in ("acme_corp", "newcomer"):
        made = await api.provision(name)
        assert (made.status_code, made.json()["state"]) == (201, "active"), made.text
    whole = (await api.client.get("/v1/tenants/acme_corp", params={"view": "full"})).json()
    assert (whole["billing_contact"], [f for f in whole["features"] if f["enabled"]]) == (None, [])
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_confirmation_that_does_not_hold_drops_nothing(
    idle_api: Api, conn: asyncpg.Connection, fleet: list[str]
) -> None:
    client, before = idle_api.client, await schemas(conn)
    token = (await _plan(client))["confirmation"]
    for wrong in ("x", token[:-1], token + "A", token.swapcase(), "é", "\0", "' OR true --"):
        problem(await _confirm(client, wrong), 409, "confirmation_invalid")
    for shape in ({"confirmation": ""}, {"confirmation": "a" * 201}, {"confirmation": 1}, {"confirm": token}, [token]):
        problem(await client.post(_PATH, json=shape), 422, "validation_failed")
    another = {"Authorization": f"Bearer {await idle_api.key(Role.ADMIN)}"}
    problem(await _confirm(client, token, **another), 409, "confirmation_invalid")
    for role in (Role.OPERATOR, Role.VIEWER):
        less = {"Authorization": f"Bearer {await idle_api.key(role)}"}
        problem(await client.post(_PATH, headers=less), 403, "forbidden")
        problem(await _confirm(client, token, **less), 403, "forbidden")
    await conn.execute("UPDATE bf_control.plan SET expires_at = now() - interval '1 second'")
    problem(await _confirm(client, token), 409, "confirmation_invalid")
    await _nothing_happened(conn, before)
    await conn.execute("UPDATE bf_control.plan SET expires_at = now() + interval '10 seconds'")
    assert (await _confirm(client, token)).status_code == 202, "what was refused has not used it up"
    assert await conn.fetchval(_OFFERED) == 0
    problem(await _confirm(client, token), 409, "confirmation_invalid")
    assert await conn.fetchval(_STORED) == 1


async def test_a_confirmation_lasts_ten_minutes_and_goes_when_it_has_expired(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await _plan(idle_api.client)
    left = await conn.fetchval("SELECT extract(epoch FROM expires_at - now())::integer FROM bf_control.plan")
    assert 570 < left <= 600
    await conn.execute("UPDATE bf_control.plan SET expires_at = now() - interval '1 second'")
    await _plan(idle_api.client)
    assert await conn.fetchval(_OFFERED) == 1
    preview = await idle_api.client.post(_PATH, params={"validate_only": "true"})
    assert (preview.json()["confirmation"], preview.json()["expires_at"]) == (None, None)
    assert await conn.fetchval(_OFFERED) == 1
    told = await conn.fetchval("SELECT token_hash FROM bf_control.plan")
    assert len(told) == 32


async def test_a_confirmation_is_of_the_plan_as_it_was(
    idle_api: Api, conn: asyncpg.Connection, fleet: list[str]
) -> None:
    token = (await _plan(idle_api.client))["confirmation"]
    added = await idle_api.client.post("/v1/tenants", json={"tenant_id": "t4", "tenant_name": "T"})
    assert added.status_code == 202
    before = await schemas(conn)
    refused = problem(await _confirm(idle_api.client, token), 409, "confirmation_invalid")
    assert "make a new plan" in refused["detail"]
    assert [tenant["tenant_id"] for tenant in (await _plan(idle_api.client))["tenants"]] == [*fleet, "t4"]
    assert await schemas(conn) == before


async def test_a_confirmation_of_another_database_confirms_nothing(
    idle_api: Api, conn: asyncpg.Connection, cluster: Cluster, template: str, tmp_path: Any
) -> None:
    """Not even where the other one was copied from the first, confirmations and all."""
    await make_tenant(conn)
    token = (await _plan(idle_api.client))["confirmation"]
    (offered,) = await conn.fetch("SELECT * FROM bf_control.plan")
    dsn = await cluster.create_database(template=template)
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "other-key")
    copy = await asyncpg.connect(dsn)
    try:
        await make_tenant(copy)
        async with running_api(settings, with_worker=False) as other:
            caller = await copy.fetchval("SELECT 'key:' || id FROM bf_control.api_key")
            await copy.execute(
                """INSERT INTO bf_control.plan
                   (id, token_hash, action, target, actor, digest, document, needs_approval, expires_at)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, false, $8)""",
                *(offered[name] for name in ("id", "token_hash", "action", "target")),
                *(caller, offered["digest"], offered["document"], offered["expires_at"]),
            )
            problem(await _confirm(other.client, token), 409, "confirmation_invalid")
            assert "bf_acme_corp" in await schemas(copy)
            assert await copy.fetchval(_STORED) == 0
    finally:
        await copy.close()
        await cluster.drop_database(dsn.rpartition("/")[2])
    assert (await _confirm(idle_api.client, token)).status_code == 202


async def test_what_is_not_ours_is_named_and_stops_the_downgrade(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, fleet: list[str]
) -> None:
    await superuser.execute("CREATE SCHEMA billing; CREATE VIEW billing.b AS SELECT id FROM bf_t2.budgets")
    before = await schemas(conn)
    plan = await _plan(idle_api.client)
    assert plan["blockers"] == ["view billing.b depends on table bf_t2.budgets"]
    refused = problem(await _confirm(idle_api.client, plan["confirmation"]), 409, "downgrade_blocked")
    assert refused["blockers"] == plan["blockers"]
    await _nothing_happened(conn, before)
    await superuser.execute("DROP VIEW billing.b")
    assert (await _confirm(idle_api.client, plan["confirmation"])).status_code == 202, "it was not used up"


async def test_a_key_replays_the_acceptance_and_a_second_plan_waits_for_the_end(
    idle_api: Api, conn: asyncpg.Connection, fleet: list[str]
) -> None:
    token, spare = [(await _plan(idle_api.client))["confirmation"] for _ in range(2)]
    key = {"Idempotency-Key": "down"}
    first = await _confirm(idle_api.client, token, **key)
    replay = await _confirm(idle_api.client, token, **key)
    assert (replay.status_code, replay.content) == (202, first.content)
    assert replay.headers["idempotent-replayed"] == "true"
    problem(await _confirm(idle_api.client, spare, **key), 422, "idempotency_key_reused")
    busy = problem(await _confirm(idle_api.client, spare), 409, "schema_operation_running")
    assert busy["operation"] == first.headers["operation-location"]
    assert await conn.fetchval(_STORED) == 1


async def test_many_confirmations_at_once_are_one(idle_api: Api, conn: asyncpg.Connection, fleet: list[str]) -> None:
    token = (await _plan(idle_api.client))["confirmation"]
    responses = await asyncio.gather(*(_confirm(idle_api.client, token) for _ in range(10)))
    assert sorted(response.status_code for response in responses) == [202, *[409] * 9]
    for response in responses:
        if response.status_code == 409:
            problem(response, 409, "confirmation_invalid")
    assert await conn.fetchval(_STORED) == 1


async def test_an_upgrade_and_a_downgrade_are_never_under_way_together(
    idle_api: Api, conn: asyncpg.Connection, fleet: list[str]
) -> None:
    client = idle_api.client
    down = await _confirmed(client)
    for query in ({}, {"validate_only": "true"}):
        busy = problem(await client.post("/v1/schema/upgrade", params=query), 409, "schema_operation_running")
        assert busy["operation"] == down
    assert (await client.post(f"{down}/cancel")).status_code == 200
    token = (await _plan(client))["confirmation"]
    up = (await client.post("/v1/schema/upgrade")).headers["operation-location"]
    for query in ({}, {"validate_only": "true"}):
        refused = await client.post(_PATH, params=query, json={"confirmation": token})
        assert problem(refused, 409, "schema_operation_running")["operation"] == up
    assert (await client.post(f"{up}/cancel")).status_code == 200
    assert (await _confirm(client, token)).status_code == 202
    problem(await client.post(f"{up}/retry"), 409, "schema_operation_running")


async def test_a_tenant_that_is_built_after_the_plan_is_waited_for_and_stops_it(
    api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, fleet: list[str]
) -> None:
    point = {"late": 1}
    await gates.install(conn, point)
    await gates.shut(superuser, point)
    provisioning = await api.client.post("/v1/tenants", json={"tenant_id": "late", "tenant_name": "L"})
    await gates.reached(conn, 1)
    plan = await _plan(api.client)
    assert [tenant["tenant_id"] for tenant in plan["tenants"]] == ["late", *fleet]
    down = (await _confirm(api.client, plan["confirmation"])).headers["operation-location"]
    await asyncio.sleep(0.3)
    assert (await api.client.get(down)).json()["progress"] is None, "the first one is being built"
    await gates.open_all(superuser)
    stopped = await ended(api.client, down)
    assert (stopped["status"], stopped["error"]["code"]) == ("failed", "downgrade_blocked")
    assert (await ended(api.client, provisioning.headers["operation-location"]))["status"] == "succeeded"
    assert await schemas(conn) == _KEPT | {"bf_shared", "bf_late", *(f"bf_{name}" for name in fleet)}
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_tenant_whose_turn_comes_after_the_downgrade_fails_with_the_reason(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, fleet: list[str]
) -> None:
    """Its job is delivered when the registry no longer has it."""
    queued = await idle_api.client.post("/v1/tenants", json={"tenant_id": "late", "tenant_name": "L"})
    job = await conn.fetchval("DELETE FROM bf_queue.pgqueuer RETURNING dedupe_key")
    down = await _confirmed(idle_api.client)
    async with impatient_worker(settings):
        assert (await ended(idle_api.client, down))["status"] == "succeeded"
        assert queued.json()["id"] == job
        await conn.execute(
            "UPDATE bf_control.operation SET created_at = now() - interval '1 minute' WHERE id = $1", job
        )
        async with idle_api.database.transaction() as sweeping:
            assert await requeue(sweeping) == 1
        operation = await ended(idle_api.client, queued.headers["operation-location"])
    assert (operation["status"], operation["error"]["code"]) == ("failed", "schema_not_installed")
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_tenant_that_was_asked_for_after_the_confirmation_is_not_destroyed_unseen(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, fleet: list[str]
) -> None:
    down = await _confirmed(idle_api.client)
    body = {"tenant_id": "late", "tenant_name": "L"}
    problem(await idle_api.client.post("/v1/tenants", json=body), 409, "schema_operation_running")
    await make_tenant(conn, "late")  # SQL asks nobody
    async with impatient_worker(settings):
        operation = await ended(idle_api.client, down)
        await oracle.settled(conn)
    assert (operation["status"], operation["error"]["code"]) == ("failed", "downgrade_blocked")
    assert "make a new one" in operation["error"]["detail"]
    assert {"bf_shared", "bf_late", *(f"bf_{name}" for name in fleet)} <= await schemas(conn)
    await oracle.assert_clean(settings.direct_dsn())
