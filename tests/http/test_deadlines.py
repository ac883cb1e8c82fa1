"""A request is answered in time, whatever it waits for, and costs the process nothing that it would miss later."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack

import asyncpg
import httpx
import pytest

from app.db import patience
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.data import make_tenant
from tests.support.polling import until
from tests.support.problems import problem

_BODY = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}
_PATH = "/v1/tenants/acme_corp"
_TIMEOUT = 1.2
_BUSY = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name = 'bf-admin api' AND state <> 'idle'
"""


@pytest.fixture
async def hurried(settings: Settings) -> AsyncIterator[Api]:
    """Without a worker, with three connections, and a deadline that is shorter than any wait for a lock."""
    short = settings.model_copy(update={"request_timeout": _TIMEOUT, "db_pool_max": 3})
    async with running_api(short, with_worker=False) as running:
        yield running


async def _timed(answer: Awaitable[httpx.Response]) -> tuple[httpx.Response, float]:
    begun = time.perf_counter()
    return await answer, time.perf_counter() - begun


async def test_who_waits_for_a_lock_longer_than_that_is_503_and_nothing_is_stored(
    hurried: Api, superuser: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    headers = {"Idempotency-Key": "k1"}
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_control.audit IN EXCLUSIVE MODE")
        answer, seconds = await _timed(hurried.client.post("/v1/tenants", json=_BODY, headers=headers))
        assert problem(answer, 503, "deadline_exceeded")["detail"]
        assert _TIMEOUT <= seconds < _TIMEOUT + 2

        async def given_back() -> bool:
            return await conn.fetchval(_BUSY) == 0

        await until(given_back, what="the end of the statement that nobody waits for")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0
    again = await hurried.client.post("/v1/tenants", json=_BODY, headers=headers)
    assert again.status_code == 202
    assert "idempotent-replayed" not in again.headers


async def test_many_that_ran_out_of_time_leave_every_connection_usable(
    hurried: Api, superuser: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_shared.tenant_config IN EXCLUSIVE MODE")
        for _ in range(2):
            answers = await asyncio.gather(
                *(hurried.client.patch(_PATH, json={"tenant_name": "Other"}) for _ in range(3)),
            )
            for answer in answers:
                problem(answer, 503, "deadline_exceeded")
    answers = await asyncio.gather(*(hurried.client.get(_PATH) for _ in range(9)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["tenant_name"] for answer in answers} == {"ACME Corporation"}
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(hurried.database.connection())


async def test_a_wait_that_was_asked_for_is_no_delay(hurried: Api) -> None:
    answer, seconds = await _timed(hurried.client.post("/v1/tenants", json=_BODY, headers={"Prefer": "wait=2"}))
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=2")
    assert 2 <= seconds < 2 + _TIMEOUT


async def test_without_a_connection_every_call_is_503_in_time_and_the_process_is_alive(
    hurried: Api, settings: Settings
) -> None:
    async with running_api(settings.model_copy(update={"db_pool_max": 2}), with_worker=False) as api:
        async with api.database.connection(), api.database.connection():
            calls = asyncio.gather(
                *(
                    _timed(answer)
                    for answer in (
                        api.client.get(_PATH),
                        api.client.get(f"{_PATH}?view=full"),
                        api.client.get("/v1/operations"),
                        api.client.get("/v1/schema"),
                        api.client.put(_PATH, json={"tenant_name": "A"}, headers={"Prefer": "wait=30"}),
                        api.client.patch(_PATH, json={"tenant_name": "A"}),
                        api.client.post("/v1/tenants?validate_only=true", json=_BODY),
                        api.client.post(
                            "/v1/tenants", json=_BODY, headers={"Idempotency-Key": "k", "Prefer": "wait=30"}
                        ),
                    )
                )
            )
            live, seconds = await _timed(api.client.get("/livez"))
            assert (live.status_code, seconds < 1) == (200, True)
            for answer, took in await calls:
                problem(answer, 503, "unavailable")
                assert took < 2
        assert (await api.client.get("/v1/tenants")).json() == {"items": []}
    assert (await hurried.client.get("/v1/tenants")).status_code == 200


async def test_authentication_and_the_route_wait_for_a_connection_in_two_seconds_together(
    settings: Settings, conn: asyncpg.Connection
) -> None:
    """One connection: free for the request's authentication late, and for its route not at all."""
    await make_tenant(conn)
    async with running_api(settings.model_copy(update={"db_pool_max": 1}), with_worker=False) as api:
        done = asyncio.Event()

        async def next_in_line() -> None:
            async with api.database.connection():
                await done.wait()

        async with api.database.connection():
            asking = asyncio.create_task(_timed(api.client.get(_PATH)))
            await asyncio.sleep(0.1)
            following = asyncio.create_task(next_in_line())
            await asyncio.sleep(1.0)
        answer, seconds = await asking
        problem(answer, 503, "unavailable")
        assert 1.3 < seconds < 2
        done.set()
        await following
        assert (await api.client.get(_PATH)).status_code == 200


def test_what_a_request_does_meanwhile_gives_it_patience_again() -> None:
    """Who preferred to wait for an operation reads it after that, however long it waited to begin."""
    with patience.one_request():
        with patience.waiting(1.0) as first:
            time.sleep(0.4)
        with patience.waiting(1.0) as second:
            time.sleep(0.8)
        with patience.waiting(1.0) as spent:
            pass
        time.sleep(0.8)
        with patience.waiting(1.0) as again:
            pass
    with patience.waiting(1.0) as outside:
        time.sleep(0.1)
    with patience.waiting(1.0) as still_outside:
        pass
    assert (first, outside, still_outside) == (1.0, 1.0, 1.0)
    assert 0.5 < second < 0.65
    assert 0 < spent < 0.2
    assert 0.5 < again <= 1.0
