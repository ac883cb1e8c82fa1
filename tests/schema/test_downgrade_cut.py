"""A downgrade over HTTP that is cut short: killed or cancelled between two tenants, and what is left is whole."""

import signal
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.settings import Settings
from tests.support import oracle
from tests.support.api import Api
from tests.support.data import make_tenant, schemas
from tests.support.polling import ended, waiting_for_locks
from tests.support.problems import problem
from tests.support.processes import environment, logged
from tests.support.workers import impatient_worker

_PATH = "/v1/schema/downgrade"
_KEPT = {"bf_control", "bf_queue"}
_FLEET = ("t1", "t2", "t3")


@pytest.fixture(autouse=True)
async def fleet(conn: asyncpg.Connection) -> None:
    for name in _FLEET:
        await make_tenant(conn, name)


async def _confirmed(client: httpx.AsyncClient) -> str:
    """The location of a downgrade of everything there is."""
    plan = (await client.post(_PATH)).json()
    response = await client.post(_PATH, json={"confirmation": plan["confirmation"]})
    assert response.status_code == 202, response.text
    location: str = response.headers["operation-location"]
    return location


async def _killed(settings: Settings, conn: asyncpg.Connection, log: Path) -> None:
    """A worker that dies waiting for a lock, of which somebody must hold one."""
    async with logged("worker", env=environment(settings.direct_dsn()), log=log) as worker:
        await waiting_for_locks(conn)
        worker.send_signal(signal.SIGKILL)
        await worker.wait()


async def _ended_by_another(api: Api, settings: Settings, conn: asyncpg.Connection, down: str) -> None:
    assert (await api.client.get(down)).json()["status"] == "running"
    async with impatient_worker(settings):
        operation = await ended(api.client, down)
        await oracle.settled(conn)
    assert (operation["status"], operation["attempts"]) == ("succeeded", 2)
    assert operation["result"]["tenants_dropped"] == 3
    assert await schemas(conn) == _KEPT
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_downgrade_whose_worker_was_killed_in_the_middle_of_a_tenant_is_ended_by_another(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    down = await _confirmed(idle_api.client)
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_t2.budgets IN ACCESS SHARE MODE")
        await _killed(settings, conn, tmp_path / "worker.log")
        left = (await idle_api.client.get(down)).json()
        assert (left["progress"], left["steps"][0]["status"]) == ({"done": 1, "total": 3}, "running")
        assert await schemas(conn) == _KEPT | {"bf_shared", "bf_t2", "bf_t3"}
    await _ended_by_another(idle_api, settings, conn, down)


async def test_a_downgrade_whose_worker_was_killed_before_it_could_say_that_it_is_done_is_ended_by_another(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    """The last DROP has committed, and the settings of the schema have gone with it."""
    down = await _confirmed(idle_api.client)
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_control.audit IN SHARE MODE")
        await _killed(settings, conn, tmp_path / "worker.log")
        assert await schemas(conn) == _KEPT
    await _ended_by_another(idle_api, settings, conn, down)


async def test_a_downgrade_that_is_cancelled_leaves_whole_tenants_for_a_new_plan(
    api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_t2.budgets IN ACCESS SHARE MODE")
        down = await _confirmed(api.client)
        await waiting_for_locks(conn)
        asked = await api.client.post(f"{down}/cancel")
        assert (asked.status_code, asked.json()["cancel_requested"]) == (202, True)
    operation = await ended(api.client, down)
    assert (operation["status"], operation["error"]["code"]) == ("cancelled", "operation_cancelled")
    # The one that was being dropped is whole again.
    assert (operation["progress"], operation["steps"][-1]["status"]) == ({"done": 1, "total": 3}, "cancelled")
    assert await schemas(conn) == _KEPT | {"bf_shared", "bf_t2", "bf_t3"}
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())
    assert (await api.provision("t1")).status_code == 201, "the shared schema serves on"
    plan = (await api.client.post(_PATH)).json()
    assert [tenant["tenant_id"] for tenant in plan["tenants"]] == ["t1", "t2", "t3"]
    body = {"confirmation": plan["confirmation"]}
    assert (await api.client.post(_PATH, json=body, headers={"Prefer": "wait=20"})).status_code == 200
    assert await schemas(conn) == _KEPT
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_downgrade_that_is_cancelled_at_its_last_tenant_leaves_that_and_the_shared_schema(
    api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_t3.budgets IN ACCESS SHARE MODE")
        down = await _confirmed(api.client)
        await waiting_for_locks(conn)
        assert (await api.client.post(f"{down}/cancel")).status_code == 202
    operation = await ended(api.client, down)
    assert (operation["status"], operation["progress"]) == ("cancelled", {"done": 2, "total": 3})
    assert await schemas(conn) == _KEPT | {"bf_shared", "bf_t3"}
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())
    assert (await api.provision()).status_code == 201
    assert (await api.client.get("/v1/schema")).json()["up_to_date"] is True
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_tenant_that_is_made_while_others_are_dropped_stays_with_the_shared_schema(
    api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_t2.budgets IN ACCESS SHARE MODE")
        down = await _confirmed(api.client)
        await waiting_for_locks(conn)
        problem(await api.provision("late"), 409, "schema_operation_running")
        await make_tenant(conn, "late")  # SQL asks nobody
    operation = await ended(api.client, down)
    assert (operation["status"], operation["error"]["code"]) == ("failed", "downgrade_blocked")
    assert "make a new plan" in operation["error"]["detail"]
    assert await schemas(conn) == _KEPT | {"bf_shared", "bf_late"}
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())
