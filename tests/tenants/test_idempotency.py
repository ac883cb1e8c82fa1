"""Idempotency-Key on POST /v1/tenants: one effect, one answer."""

import asyncio

import asyncpg
import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support import oracle
from tests.support.api import Api, running_api
from tests.support.polling import waiting_for_locks
from tests.support.problems import problem

_BODY = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}


def _headers(key: str, **others: str) -> dict[str, str]:
    return {"Idempotency-Key": key, **others}


async def test_the_same_request_replays_the_first_answer(idle_api: Api, conn: asyncpg.Connection) -> None:
    first = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    assert first.status_code == 202
    assert "idempotent-replayed" not in first.headers
    again = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    for name in ("location", "operation-location"):
        assert again.headers[name] == first.headers[name]
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 1


async def test_white_space_and_order_of_members_make_no_other_request(idle_api: Api) -> None:
    first = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    other = b'{ "tenant_name" : "ACME Corporation",\n "tenant_id": "acme_corp" }'
    again = await idle_api.client.post(
        "/v1/tenants", content=other, headers=_headers("k1", **{"Content-Type": "application/json"})
    )
    assert (again.status_code, again.json()) == (202, first.json())


async def test_a_waited_201_replaces_the_stored_202(api: Api) -> None:
    headers = _headers("k1", Prefer="wait=20")
    first = await api.client.post("/v1/tenants", json=_BODY, headers=headers)
    assert first.status_code == 201
    for replay in (headers, _headers("k1")):
        again = await api.client.post("/v1/tenants", json=_BODY, headers=replay)
        assert (again.status_code, again.json()) == (201, first.json())
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["location"] == "/v1/tenants/acme_corp"


async def test_another_body_under_the_same_key_is_422(idle_api: Api, conn: asyncpg.Connection) -> None:
    await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    for body in ({**_BODY, "tenant_name": "Other"}, {**_BODY, "tenant_id": "other"}, {**_BODY, "limits": {}}):
        response = await idle_api.client.post("/v1/tenants", json=body, headers=_headers("k1"))
        problem(response, 422, "idempotency_key_reused")
    assert await conn.fetchval("SELECT array_agg(tenant_id) FROM bf_control.tenant") == ["acme_corp"]


async def test_a_key_belongs_to_its_caller_and_its_route(idle_api: Api) -> None:
    await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    stranger = await idle_api.key(Role.OPERATOR)
    response = await idle_api.client.post(
        "/v1/tenants", json=_BODY, headers=_headers("k1", Authorization=f"Bearer {stranger}")
    )
    problem(response, 409, "tenant_being_provisioned")
    upgrade = await idle_api.client.post("/v1/schema/upgrade", headers=_headers("k1"))
    assert upgrade.status_code == 202
    assert "idempotent-replayed" not in upgrade.headers


async def test_quoted_and_bare_keys_are_the_same_key(idle_api: Api) -> None:
    first = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers('"8e03978e-40d5"'))
    again = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("8e03978e-40d5"))
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


async def test_a_key_that_is_none_is_400(idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    for key in ("", '""', "x" * 256, "\t", "clé", "日本"):
        with subtests.test(key[:9]):
            headers = [(b"idempotency-key", key.encode())]
            response = await idle_api.client.post("/v1/tenants", json=_BODY, headers=headers)
            problem(response, 400, "invalid_idempotency_key")
            assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0


async def test_the_longest_key_is_one(idle_api: Api) -> None:
    first = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("~" * 255))
    again = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers('"' + "~" * 255 + '"'))
    assert (again.status_code, again.json()) == (202, first.json())


async def test_while_the_first_request_runs_the_second_is_409_at_once(
    idle_api: Api, superuser: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    """The first waits for a lock of the test's, inside its transaction; nobody queues behind it."""
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_control.audit IN EXCLUSIVE MODE")
        first = asyncio.create_task(idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1")))
        await waiting_for_locks(conn)
        begun = asyncio.get_running_loop().time()
        async with asyncio.timeout(3):
            second = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
        problem(second, 409, "idempotency_key_in_flight")
        assert asyncio.get_running_loop().time() - begun < 1
    assert (await first).status_code == 202
    third = await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    assert third.headers["idempotent-replayed"] == "true"


async def test_what_was_refused_is_not_stored_and_may_be_tried_again(api: Api) -> None:
    await api.provision("acme_corp")
    refused = await api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    problem(refused, 409, "tenant_exists")
    other = {"tenant_id": "global_inc", "tenant_name": "Global Inc"}
    response = await api.client.post("/v1/tenants", json=other, headers=_headers("k1"))
    assert response.status_code == 202


async def test_the_answer_is_replayed_after_a_restart_by_another_process(settings: Settings) -> None:
    async with running_api(settings, with_worker=True) as api:
        first = await api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1", Prefer="wait=20"))
        assert first.status_code == 201
    async with running_api(settings, with_worker=False) as api:
        again = await api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1", Prefer="wait=20"))
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotent-replayed"] == "true"
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_key_is_forgotten_after_24_hours(idle_api: Api, conn: asyncpg.Connection) -> None:
    await idle_api.client.post("/v1/tenants", json=_BODY, headers=_headers("k1"))
    await conn.execute("UPDATE bf_control.idempotency_key SET created_at = now() - interval '24 hours 1 second'")
    other = {"tenant_id": "global_inc", "tenant_name": "Global Inc"}
    response = await idle_api.client.post("/v1/tenants", json=other, headers=_headers("k1"))
    assert response.status_code == 202
    assert "idempotent-replayed" not in response.headers
    again = await idle_api.client.post("/v1/tenants", json=other, headers=_headers("k1"))
    assert again.json() == response.json()
