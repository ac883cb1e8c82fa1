"""POST /v1/operations/{id}/cancel: at once what is queued, between two items what runs, not at all what has ended."""

import asyncio
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support import gates, oracle
from tests.support.api import Api
from tests.support.data import LATEST, make_tenant, schemas
from tests.support.polling import all_at_once, ended, until
from tests.support.problems import problem
from tests.support.processes import environment, logged
from tests.support.workers import impatient_worker

_BODY = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}
_FLEET = ("t1", "t2", "t3", "t4")
# The second tenant is the one that an upgrade waits in.
_GATE = {"t2": 2}
_VERSIONS = "SELECT array_agg(schema_version ORDER BY tenant_id) FROM bf_control.tenant"
_AT_ONCE = 20


@pytest.fixture
async def fleet(conn: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
    """Tenants that the next upgrade brings along, up to the gate, which `superuser` holds shut."""
    for tenant_id in _FLEET:
        await make_tenant(conn, tenant_id)
    await gates.next_version(conn, _GATE)
    await gates.shut(superuser, _GATE)


async def _queued(api: Api) -> str:
    """The location of an operation, and a tenant to be."""
    response = await api.client.post("/v1/tenants", json=_BODY)
    assert response.status_code == 202, response.text
    location: str = response.headers["operation-location"]
    return location


async def _upgrading(api: Api, conn: asyncpg.Connection) -> str:
    """The location of an upgrade that has come to the gate."""
    response = await api.client.post("/v1/schema/upgrade")
    await gates.reached(conn, 1)
    location: str = response.headers["operation-location"]
    return location


async def _read(client: httpx.AsyncClient, location: str) -> dict[str, Any]:
    body: dict[str, Any] = (await client.get(location)).json()
    return body


async def _waited_for(api: Api) -> None:
    async def waits() -> bool:
        return bool(api.services.waiter._events)

    await until(waits, what="a request that waits")


async def test_what_is_queued_is_cancelled_at_once_and_its_job_does_nothing(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection
) -> None:
    location = await _queued(idle_api)
    before = await _read(idle_api.client, location)
    preview = await idle_api.client.post(f"{location}/cancel", params={"validate_only": "true"})
    assert (preview.status_code, preview.json()["status"]) == (200, "cancelled")
    assert await _read(idle_api.client, location) == before

    cancelled = await idle_api.client.post(f"{location}/cancel")
    assert cancelled.status_code == 200
    body = cancelled.json()
    assert (body["status"], body["error"]["code"], body["result"]) == ("cancelled", "operation_cancelled", None)
    assert body["finished_at"] is not None
    assert body == await _read(idle_api.client, location)
    tenant = await _read(idle_api.client, "/v1/tenants/acme_corp")
    assert (tenant["state"], tenant["error"]["code"]) == ("failed", "operation_cancelled")
    assert (tenant["schema_version"], tenant["last_operation"]) == (None, location)

    assert await conn.fetchval("SELECT count(*) FROM bf_queue.pgqueuer") == 1
    async with impatient_worker(settings):
        await oracle.settled(conn)
    assert await _read(idle_api.client, location) == body
    assert "bf_acme_corp" not in await schemas(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_cancelled_tenant_is_repaired_by_the_same_request_or_a_retry(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection
) -> None:
    for tenant_id in ("by_post", "by_put", "by_retry"):
        body = {"tenant_id": tenant_id, "tenant_name": "T"}
        first = (await idle_api.client.post("/v1/tenants", json=body)).headers["operation-location"]
        assert (await idle_api.client.post(f"{first}/cancel")).status_code == 200
        match tenant_id:
            case "by_post":
                problem(
                    await idle_api.client.post("/v1/tenants", json={**body, "tenant_name": "Another"}),
                    409,
                    "tenant_request_differs",
                )
                again = await idle_api.client.post("/v1/tenants", json=body)
            case "by_put":
                again = await idle_api.client.put(f"/v1/tenants/{tenant_id}", json=body)
            case _:
                again = await idle_api.client.post(f"{first}/retry")
        assert again.status_code == 202, again.text
        assert again.headers["operation-location"] != first
    async with impatient_worker(settings):
        await oracle.settled(conn)
    for tenant_id in ("by_post", "by_put", "by_retry"):
        tenant = await _read(idle_api.client, f"/v1/tenants/{tenant_id}")
        assert (tenant["state"], tenant["error"]) == ("active", None)
    await oracle.assert_clean(settings.direct_dsn())


@pytest.mark.usefixtures("fleet")
async def test_a_running_upgrade_shows_its_step_and_stops_before_its_next_tenant(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> None:
    location = await _upgrading(api, conn)
    seen = await _read(api.client, location)
    assert (seen["status"], seen["progress"]) == ("running", {"done": 1, "total": 4})
    assert [(step["name"], step["status"], step["duration_ms"]) for step in seen["steps"]] == [
        ("upgrade", "running", None)
    ]
    preview = await api.client.post(f"{location}/cancel", params={"validate_only": "true"})
    assert (preview.status_code, preview.json()["cancel_requested"]) == (200, True)
    assert await _read(api.client, location) == seen

    for _ in range(2):
        asked = await api.client.post(f"{location}/cancel")
        assert (asked.status_code, asked.headers["operation-location"]) == (202, location)
        assert (asked.json()["status"], asked.json()["cancel_requested"]) == ("running", True)
        assert "retry-after" in asked.headers
    waiting = asyncio.create_task(api.client.post(f"{location}/cancel", headers={"Prefer": "wait=20"}))
    await _waited_for(api)
    await gates.open_all(superuser)
    stopped = await waiting
    assert (stopped.status_code, stopped.headers["preference-applied"]) == (200, "wait=20")
    body = stopped.json()
    assert (body["status"], body["error"]["code"]) == ("cancelled", "operation_cancelled")
    assert (body["progress"], body["steps"][-1]["status"]) == ({"done": 2, "total": 4}, "cancelled")
    assert body["steps"][-1]["duration_ms"] is not None
    assert await conn.fetchval(_VERSIONS) == [LATEST + 1, LATEST + 1, LATEST, LATEST]
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())

    again = await api.client.post(f"{location}/retry", headers={"Prefer": "wait=20"})
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
    assert location.endswith(again.json()["retry_of"])
    assert again.json()["progress"] == {"done": 2, "total": 2}
    assert await conn.fetchval(_VERSIONS) == [LATEST + 1] * 4
    assert await _read(api.client, location) == body
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


@pytest.mark.usefixtures("fleet")
async def test_an_upgrade_that_was_told_to_stop_and_lost_its_worker_ends_cancelled(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    async with logged("worker", env=environment(settings.direct_dsn()), log=tmp_path / "worker.log") as worker:
        location = await _upgrading(idle_api, conn)
        assert (await idle_api.client.post(f"{location}/cancel")).status_code == 202
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    await gates.open_all(superuser)
    assert (await _read(idle_api.client, location))["status"] == "running"
    told = await conn.fetchrow("SELECT event, document FROM bf_control.operation_event ORDER BY seq DESC LIMIT 1")
    assert told["event"] == "progress", "who follows it hears of the request"
    assert '"cancel_requested": true' in told["document"]
    async with impatient_worker(settings):
        operation = await ended(idle_api.client, location)
        await oracle.settled(conn)
    assert (operation["status"], operation["attempts"]) == ("cancelled", 2)
    assert operation["error"]["code"] == "operation_cancelled"
    # What the dead worker had begun may still have committed: nobody was there to be refused.
    assert await conn.fetchval(_VERSIONS) in ([LATEST + 1, *[LATEST] * 3], [*[LATEST + 1] * 2, LATEST, LATEST])
    await oracle.assert_clean(settings.direct_dsn())


async def test_what_has_ended_cannot_be_cancelled_and_what_was_cancelled_may_be_again(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    done = (await api.provision()).headers["operation-location"]
    await conn.execute("CREATE SCHEMA bf_taken")
    failed = (await api.provision("taken")).headers["operation-location"]
    for location, status in ((done, "succeeded"), (failed, "failed")):
        before = await _read(api.client, location)
        for query in ({}, {"validate_only": "true"}):
            refused = await api.client.post(f"{location}/cancel", params=query, headers={"Prefer": "wait=5"})
            body = problem(refused, 409, "operation_finished")
            assert (body["operation_status"], status in body["detail"]) == (status, True)
        assert await _read(api.client, location) == before
    for unknown in ("00000000-0000-0000-0000-000000000000", "x", "%00", "a" * 5000):
        problem(await api.client.post(f"/v1/operations/{unknown}/cancel"), 404, "operation_not_found")
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn(), others={"bf_taken"})


async def test_a_last_step_that_is_being_committed_is_409_at_once(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> None:
    """A provisioning is one transaction, which has its operation's row locked to the end."""
    point = {"acme_corp": 1}
    await gates.install(conn, point)
    await gates.shut(superuser, point)
    location = await _queued(api)
    await gates.reached(conn, 1)
    begun = asyncio.get_running_loop().time()
    responses = await asyncio.gather(*(api.client.post(f"{location}/cancel") for _ in range(5)))
    assert asyncio.get_running_loop().time() - begun < 1.5, "lock_timeout is 2 s"
    for response in responses:
        assert problem(response, 409, "operation_not_cancellable")["operation_status"] == "running"
    await gates.open_all(superuser)
    assert (await ended(api.client, location))["status"] == "succeeded"
    assert (await _read(api.client, "/v1/tenants/acme_corp"))["state"] == "active"
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


@pytest.mark.usefixtures("fleet")
async def test_many_cancellations_at_once_all_agree(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> None:
    location = await _upgrading(api, conn)
    responses = await all_at_once(lambda: api.client.post(f"{location}/cancel"), _AT_ONCE)
    assert Counter(response.status_code for response in responses) == {202: _AT_ONCE}, [r.text for r in responses]
    await gates.open_all(superuser)
    operation = await ended(api.client, location)
    assert operation["status"] == "cancelled"
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_many_cancellations_of_what_is_queued_end_it_once(
    idle_api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    location = await _queued(idle_api)
    responses = await all_at_once(lambda: idle_api.client.post(f"{location}/cancel"), _AT_ONCE)
    assert Counter(response.status_code for response in responses) == {200: _AT_ONCE}, [r.text for r in responses]
    assert len({response.text for response in responses}) == 1
    await oracle.assert_clean(settings.direct_dsn())


async def test_an_idempotency_key_and_a_role_hold_for_cancellations_too(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    location = await _queued(idle_api)
    viewer = {"Authorization": f"Bearer {await idle_api.key(Role.VIEWER)}"}
    problem(await idle_api.client.post(f"{location}/cancel", headers=viewer), 403, "forbidden")
    key = {"Idempotency-Key": "stop"}
    first = await idle_api.client.post(f"{location}/cancel", headers=key)
    replay = await idle_api.client.post(f"{location}/cancel", headers=key)
    assert (replay.status_code, replay.content) == (first.status_code, first.content)
    assert replay.headers["idempotent-replayed"] == "true"
    (asked,) = await conn.fetch("SELECT * FROM bf_control.audit WHERE action = 'operation.cancel'")
    assert (asked["target"], asked["outcome"]) == (f"operation/{first.json()['id']}", "accepted")
    assert asked["actor"].startswith("key:")
    assert asked["request_id"] == first.headers["x-request-id"]
    another = (await idle_api.client.post("/v1/schema/upgrade")).headers["operation-location"]
    problem(
        await idle_api.client.post(f"{another}/cancel", headers=key),
        422,
        "idempotency_key_reused",
    )
