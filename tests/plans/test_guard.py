"""The destroy guard: whatever is wrong with a confirmation, nothing is dropped, and nobody is deleted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support import rows
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, schemas, settings_for
from tests.support.plans import confirmed, planned
from tests.support.problems import problem

_PURGE = "/v1/tenants/acme_corp/purge"
_WAIT = {"Prefer": "wait=20"}
_DECOYS = """
CREATE SCHEMA bfx_other; CREATE TABLE bfx_other.budgets AS SELECT 1 AS n;
CREATE SCHEMA "bf_Mixed"; CREATE TABLE "bf_Mixed".budgets AS SELECT 2 AS n;
"""
_DECOY_ROWS = 'SELECT n FROM bfx_other.budgets UNION ALL SELECT n FROM "bf_Mixed".budgets'
_ONE_MORE = """
INSERT INTO bf_acme_corp.budgets
    (id, tenant_id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
VALUES ('more', 'acme_corp', 'b', 'annual', 2025, '2025-01-01', '2025-12-31')
"""
_STATES = "SELECT tenant_id, state FROM bf_control.tenant ORDER BY tenant_id"


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", backup_url=str(tmp_path / "backups"))


@pytest.fixture
async def deleted(conn: asyncpg.Connection, superuser: asyncpg.Connection) -> AsyncIterator[set[str]]:
    """A deleted tenant with rows, among decoys; whatever the test has done, the decoys are as they were."""
    await superuser.execute(_DECOYS)
    await make_tenant(conn)
    await rows.fill(superuser)
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp', 'left')")
    yield await schemas(conn)
    assert [row["n"] for row in await superuser.fetch(_DECOY_ROWS)] == [1, 2]


async def _confirm(client: httpx.AsyncClient, token: str, headers: Any = None, **body: Any) -> httpx.Response:
    return await client.post(_PURGE, json={"confirmation": token, **body}, headers=headers)


async def _nothing_happened(conn: asyncpg.Connection, before: set[str]) -> None:
    assert await schemas(conn) == before
    assert dict(await conn.fetch(_STATES))["acme_corp"] == "deleted"
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 0


async def test_a_plan_says_what_would_be_lost_and_loses_nothing(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, deleted: set[str]
) -> None:
    plan = await planned(idle_api.client, _PURGE)
    assert (plan["tenant_id"], plan["generation"], plan["waive_backup"]) == ("acme_corp", 1, False)
    counted = {item["name"]: item["rows"] for item in plan["items"]}
    for name, number in counted.items():
        assert number == await superuser.fetchval(f"SELECT count(*) FROM bf_acme_corp.{name}"), name  # noqa: S608
    assert (plan["tables"], plan["rows"], plan["rows_are"]) == (len(counted), sum(counted.values()), "exact")
    assert plan["rows"] > 0
    size = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relnamespace = 'bf_acme_corp'::regnamespace"
    assert plan["bytes"] == await superuser.fetchval(f"{size} AND relkind = 'r'")
    assert 570 < await conn.fetchval("SELECT extract(epoch FROM expires_at - now()) FROM bf_control.plan") <= 600
    stored = await conn.fetchval("SELECT p::text FROM bf_control.plan p")
    assert plan["confirmation"] not in stored
    assert "confirmation" not in stored
    await _nothing_happened(conn, deleted)


async def test_a_confirmed_purge_drops_exactly_the_tenant(
    api: Api, conn: asyncpg.Connection, deleted: set[str]
) -> None:
    done = await confirmed(api.client, _PURGE, headers=_WAIT, reason="they left")
    assert (done.status_code, done.json()["status"]) == (200, "succeeded")
    assert await schemas(conn) == deleted - {"bf_acme_corp"}
    after = await conn.fetchval(
        "SELECT after FROM bf_control.audit WHERE action = 'tenant.purge' AND outcome = 'accepted'"
    )
    assert '"plan"' in after


async def test_without_a_confirmation_that_holds_nothing_is_dropped(
    idle_api: Api, conn: asyncpg.Connection, deleted: set[str]
) -> None:
    """Missing, altered, expired, another caller's, of another action, of another target."""
    client = idle_api.client
    assert (await client.post(_PURGE)).json()["confirmation"] is not None, "a plan, and no more"
    token = (await planned(client, _PURGE))["confirmation"]
    for wrong in ("x", token[:-1], token + "A", token.swapcase(), "é", "\0", "' OR true --"):
        problem(await _confirm(client, wrong), 409, "confirmation_invalid")
    for shape in ({"confirmation": ""}, {"confirmation": "a" * 201}, {"confirmation": 1}, {"confirm": token}, [token]):
        problem(await client.post(_PURGE, json=shape), 422, "validation_failed")
    another = {"Authorization": f"Bearer {await idle_api.key(Role.ADMIN)}"}
    problem(await _confirm(client, token, another), 409, "confirmation_invalid")
    operator = {"Authorization": f"Bearer {await idle_api.key(Role.OPERATOR)}"}
    problem(await _confirm(client, token, operator), 403, "forbidden")
    problem(await _confirm(client, token, waive_backup=True), 409, "confirmation_invalid")
    elsewhere = await client.post("/v1/schema/downgrade", json={"confirmation": token})
    problem(elsewhere, 409, "confirmation_invalid")
    problem(await client.delete("/v1/tenants?all=true&confirmation=" + token), 409, "confirmation_invalid")
    downgrade = (await planned(client, "/v1/schema/downgrade"))["confirmation"]
    problem(await _confirm(client, downgrade), 409, "confirmation_invalid")
    await make_tenant(conn, "other")
    await conn.execute("SELECT bf_shared.delete_tenant('other', 'left')")
    other = await client.post("/v1/tenants/other/purge", json={"confirmation": token})
    problem(other, 409, "confirmation_invalid")
    await conn.execute("UPDATE bf_control.plan SET expires_at = now()")
    problem(await _confirm(client, token), 409, "confirmation_invalid")
    await _nothing_happened(conn, deleted | {"bf_other"})


async def test_a_confirmation_is_of_what_there_was_to_lose(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, deleted: set[str]
) -> None:
    """A row more, a row less, a table more, another generation."""
    for change, undo in (
        (_ONE_MORE, None),
        ("DELETE FROM bf_acme_corp.budget_lines WHERE id = (SELECT min(id) FROM bf_acme_corp.budget_lines)", None),
        ("CREATE TABLE bf_acme_corp.theirs (n integer)", "DROP TABLE bf_acme_corp.theirs"),
        (
            "UPDATE bf_control.tenant SET generation = generation + 1 WHERE tenant_id = 'acme_corp'",
            "UPDATE bf_control.tenant SET generation = generation - 1 WHERE tenant_id = 'acme_corp'",
        ),
    ):
        token = (await planned(idle_api.client, _PURGE))["confirmation"]
        async with superuser.transaction():
            await superuser.execute("SET LOCAL session_replication_role = replica")
            await superuser.execute(change)
        refused = problem(await _confirm(idle_api.client, token), 409, "confirmation_invalid")
        assert "make a new plan" in refused["detail"]
        if undo is not None:
            await superuser.execute(undo)
            assert (await idle_api.client.post(_PURGE, params={"validate_only": "true"})).status_code == 200
    await _nothing_happened(conn, deleted)


async def test_a_confirmation_is_good_once_over_several_processes(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, deleted: set[str]
) -> None:
    token = (await planned(idle_api.client, _PURGE))["confirmation"]
    async with running_api(settings, with_worker=False) as other:
        answers = await asyncio.gather(*(_confirm(one.client, token) for one in (idle_api, other) for _ in range(5)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [202] + [409] * 9
    (operation,) = [answer.json()["id"] for answer in answers if answer.status_code == 202]
    assert (await idle_api.client.post(f"/v1/operations/{operation}/cancel")).status_code == 200
    problem(await _confirm(idle_api.client, token), 409, "confirmation_invalid")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 1
    assert await conn.fetchval("SELECT count(*) FROM bf_control.plan WHERE used_at IS NOT NULL") == 1


async def test_the_same_request_under_its_key_is_replayed_and_not_done_again(
    idle_api: Api, conn: asyncpg.Connection, deleted: set[str]
) -> None:
    token = (await planned(idle_api.client, _PURGE))["confirmation"]
    key = {"Idempotency-Key": "once"}
    first, again = await _confirm(idle_api.client, token, key), await _confirm(idle_api.client, token, key)
    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_confirmation_of_another_database_confirms_nothing(
    idle_api: Api, conn: asyncpg.Connection, deleted: set[str], cluster: Cluster, template: str, tmp_path: Path
) -> None:
    """Not even where the plan was copied, under the caller of there."""
    token = (await planned(idle_api.client, _PURGE))["confirmation"]
    (plan,) = await conn.fetch("SELECT * FROM bf_control.plan")
    dsn = await cluster.create_database(template=template)
    copy = await asyncpg.connect(dsn)
    try:
        await make_tenant(copy)
        await copy.execute("SELECT bf_shared.delete_tenant('acme_corp', 'left')")
        async with running_api(
            settings_for(dsn, bootstrap_admin_key_file=tmp_path / "other", backup_url=str(tmp_path / "b")),
            with_worker=False,
        ) as other:
            problem(await _confirm(other.client, token), 409, "confirmation_invalid")
            caller = await copy.fetchval("SELECT 'key:' || id FROM bf_control.api_key")
            values = [caller if name == "actor" else value for name, value in plan.items()]
            places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
            await copy.execute(f"INSERT INTO bf_control.plan VALUES ({places})", *values)  # noqa: S608
            problem(await _confirm(other.client, token), 409, "confirmation_invalid")
            assert "bf_acme_corp" in await schemas(copy)
            assert await copy.fetchval("SELECT count(*) FROM bf_control.operation") == 0
    finally:
        await copy.close()
        await cluster.drop_database(dsn.rpartition("/")[2])


async def test_who_is_not_deleted_is_not_planned_for(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    problem(await idle_api.client.post(_PURGE), 409, "tenant_state_forbids")
    problem(await _confirm(idle_api.client, "x"), 409, "tenant_state_forbids")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.plan") == 0


async def test_one_caller_has_no_more_than_fifty_open_plans(
    idle_api: Api, conn: asyncpg.Connection, deleted: set[str]
) -> None:
    """Counted in the database: over all processes."""
    await planned(idle_api.client, _PURGE)
    await conn.execute(
        """INSERT INTO bf_control.plan (id, token_hash, action, target, actor, digest, document, needs_approval,
                                        expires_at)
           SELECT gen_random_uuid(), n::text::bytea, action, target, actor, digest, document, false, expires_at
             FROM bf_control.plan, generate_series(2, 50) n"""
    )
    refused = await idle_api.client.post(_PURGE)
    problem(refused, 429, "too_many_plans")
    assert int(refused.headers["retry-after"]) == 600
    await conn.execute("UPDATE bf_control.plan SET expires_at = now()")
    await planned(idle_api.client, _PURGE)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.plan") == 1, "those that have expired are gone"


async def test_a_retry_repeats_what_was_confirmed_and_nothing_else(
    idle_api: Api, conn: asyncpg.Connection, deleted: set[str]
) -> None:
    accepted = await confirmed(idle_api.client, _PURGE, waive_backup=True)
    path = f"/v1/operations/{accepted.json()['id']}"
    assert (await idle_api.client.post(f"{path}/cancel")).status_code == 200
    assert (await idle_api.client.post(f"{path}/retry", params={"validate_only": "true"})).status_code == 200
    await conn.execute("UPDATE bf_control.tenant SET generation = generation + 1 WHERE tenant_id = 'acme_corp'")
    problem(await idle_api.client.post(f"{path}/retry"), 409, "operation_not_retryable")
    assert await schemas(conn) == deleted
