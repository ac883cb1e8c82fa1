"""POST /v1/operations/{id}/retry: the work of a failed or cancelled operation again, as a new one."""

from collections import Counter
from typing import Any

import asyncpg
import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support import gates, oracle
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import all_at_once, ended
from tests.support.problems import problem

_AT_ONCE = 20
_AUDIT = "SELECT actor, action, target, outcome FROM bf_control.audit WHERE request_id = $1 ORDER BY id"
_COUNT = "SELECT count(*) FROM bf_control.operation"


async def _failed(api: Api, conn: asyncpg.Connection) -> dict[str, Any]:
    """A provisioning that failed, as somebody else had a schema of that name; now it is out of the way."""
    await conn.execute("CREATE SCHEMA bf_acme_corp")
    operation = await ended(api.client, (await api.provision()).headers["operation-location"])
    await conn.execute("DROP SCHEMA bf_acme_corp")
    assert operation["status"] == "failed", operation
    return operation


async def _cancelled(api: Api) -> str:
    """The location of a cancelled provisioning."""
    body = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}
    location: str = (await api.client.post("/v1/tenants", json=body)).headers["operation-location"]
    assert (await api.client.post(f"{location}/cancel")).status_code == 200
    return location


async def test_a_failed_provisioning_is_done_again_as_a_new_operation(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    failed = await _failed(api, conn)
    retry = f"/v1/operations/{failed['id']}/retry"
    preview = await api.client.post(retry, params={"validate_only": "true"})
    assert (preview.status_code, preview.json()["retry_of"]) == (200, failed["id"])
    assert await conn.fetchval(_COUNT) == 1

    again = await api.client.post(retry)
    assert (again.status_code, again.headers["location"]) == (202, "/v1/tenants/acme_corp")
    new = again.json()
    assert again.headers["operation-location"] == f"/v1/operations/{new['id']}"
    assert new["id"] != failed["id"]
    assert (new["kind"], new["tenant_id"], new["retry_of"]) == (failed["kind"], "acme_corp", failed["id"])
    assert new["request_id"] == again.headers["x-request-id"]
    done = await ended(api.client, again.headers["operation-location"])
    assert (done["status"], done["retry_of"]) == ("succeeded", failed["id"])
    assert (await api.client.get(f"/v1/operations/{failed['id']}")).json() == failed
    tenant = (await api.client.get("/v1/tenants/acme_corp")).json()
    assert (tenant["state"], tenant["error"]) == ("active", None)
    assert tenant["last_operation"] == f"/v1/operations/{new['id']}"
    rows = [tuple(row) for row in await conn.fetch(_AUDIT, new["request_id"])]
    actor = rows[0][0]
    assert actor.startswith("key:")
    assert rows == [(actor, "tenant.create", "tenant/acme_corp", outcome) for outcome in ("accepted", "succeeded")]
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_retry_may_be_waited_for_and_may_fail_again(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    failed = await _failed(api, conn)
    await conn.execute("CREATE SCHEMA bf_acme_corp")
    wait = {"Prefer": "wait=20"}
    second = await api.client.post(f"/v1/operations/{failed['id']}/retry", headers=wait)
    assert (second.status_code, second.json()["status"]) == (202, "failed")
    assert second.json()["error"]["code"] == failed["error"]["code"]
    await conn.execute("DROP SCHEMA bf_acme_corp")
    third = await api.client.post(f"/v1/operations/{second.json()['id']}/retry", headers=wait)
    assert (third.status_code, third.json()["status"]) == (200, "succeeded")
    assert third.json()["retry_of"] == second.json()["id"]
    assert third.headers["preference-applied"] == "wait=20"
    assert third.headers["operation-location"] == f"/v1/operations/{third.json()['id']}"
    for old in (failed["id"], second.json()["id"]):
        refused = await api.client.post(f"/v1/operations/{old}/retry")
        assert problem(refused, 409)["state"] == "active", "there is nothing to repair"
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_only_what_failed_or_was_cancelled_can_be_retried(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    done = (await api.provision("done")).headers["operation-location"]
    await make_tenant(conn)
    await gates.next_version(conn, {"acme_corp": 2})
    await gates.shut(superuser, {"acme_corp": 2})
    running = (await api.client.post("/v1/schema/upgrade")).headers["operation-location"]
    await gates.reached(conn, 1)
    for location, status in ((done, "succeeded"), (running, "running")):
        for query in ({}, {"validate_only": "true"}):
            body = problem(await api.client.post(f"{location}/retry", params=query), 409, "operation_not_retryable")
            assert body["operation_status"] == status
    for unknown in ("00000000-0000-0000-0000-000000000000", "x", "%00"):
        problem(await api.client.post(f"/v1/operations/{unknown}/retry"), 404, "operation_not_found")
    await gates.open_all(superuser)
    await oracle.settled(conn)


async def test_a_retry_of_an_upgrade_is_a_new_one_or_names_the_one_that_is_under_way(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    first = (await idle_api.client.post("/v1/schema/upgrade")).headers["operation-location"]
    await idle_api.client.post(f"{first}/cancel")
    retried = await idle_api.client.post(f"{first}/retry")
    assert (retried.status_code, retried.headers["location"]) == (202, "/v1/schema")
    assert first.endswith(retried.json()["retry_of"])
    again = await idle_api.client.post(f"{first}/retry")
    refused = problem(again, 409, "schema_operation_running")
    assert refused["operation"] == f"/v1/operations/{retried.json()['id']}"
    assert await conn.fetchval(_COUNT) == 2


async def test_of_two_retries_one_does_the_work(idle_api: Api, conn: asyncpg.Connection) -> None:
    location = await _cancelled(idle_api)
    key = {"Idempotency-Key": "again"}
    first = await idle_api.client.post(f"{location}/retry", headers=key)
    assert first.status_code == 202, first.text
    replay = await idle_api.client.post(f"{location}/retry", headers=key)
    assert (replay.status_code, replay.content) == (202, first.content)
    assert replay.headers["idempotent-replayed"] == "true"
    second = await idle_api.client.post(f"{location}/retry", headers={"Idempotency-Key": "once more"})
    assert problem(second, 409, "tenant_being_provisioned")["operation"] == first.headers["operation-location"]
    refused = await idle_api.client.post(f"{first.headers['operation-location']}/retry")
    problem(refused, 409, "operation_not_retryable")
    assert await conn.fetchval(_COUNT) == 2


@pytest.mark.parametrize("work", ["tenant", "schema"])
async def test_many_retries_at_once_make_one_operation(idle_api: Api, conn: asyncpg.Connection, work: str) -> None:
    if work == "tenant":
        location = await _cancelled(idle_api)
    else:
        location = (await idle_api.client.post("/v1/schema/upgrade")).headers["operation-location"]
        await idle_api.client.post(f"{location}/cancel")
    responses = await all_at_once(lambda: idle_api.client.post(f"{location}/retry"), _AT_ONCE)
    counted = Counter(response.status_code for response in responses)
    assert counted == {202: 1, 409: _AT_ONCE - 1}, counted
    assert len({r.json()["id"] for r in responses if r.status_code == 202}) == 1
    assert await conn.fetchval(_COUNT) == 2


async def test_a_downgrade_is_confirmed_anew_each_time(idle_api: Api, conn: asyncpg.Connection) -> None:
    plan = (await idle_api.client.post("/v1/schema/downgrade")).json()
    confirmed = await idle_api.client.post("/v1/schema/downgrade", json={"confirmation": plan["confirmation"]})
    location = confirmed.headers["operation-location"]
    assert (await idle_api.client.post(f"{location}/cancel")).status_code == 200
    refused = problem(await idle_api.client.post(f"{location}/retry"), 409, "operation_not_retryable")
    assert "make a new plan" in refused["detail"]
    assert await conn.fetchval(_COUNT) == 1


async def test_a_retry_needs_the_role_of_the_work(idle_api: Api) -> None:
    location = await _cancelled(idle_api)
    viewer = {"Authorization": f"Bearer {await idle_api.key(Role.VIEWER)}"}
    problem(await idle_api.client.post(f"{location}/retry", headers=viewer), 403, "forbidden")
    operator = {"Authorization": f"Bearer {await idle_api.key(Role.OPERATOR)}"}
    assert (await idle_api.client.post(f"{location}/retry", headers=operator)).status_code == 202
