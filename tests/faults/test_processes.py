"""Two servers on one database, from its first minute: real processes, many requests at once, signals."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.support import oracle
from tests.support.polling import waiting_for_locks
from tests.support.problems import problem
from tests.support.processes import Served, bf_admin, environment, served

_FULL = os.environ.get("BF_TEST_FULL") == "1"
_EQUAL, _RIVALS = (500, 200) if _FULL else (60, 50)


@dataclass(frozen=True, slots=True)
class Pair:
    """One with a worker, one without; started at the same moment on an empty database."""

    dsn: str
    working: Served
    plain: Served

    def any(self, number: int) -> httpx.AsyncClient:
        return (self.working, self.plain)[number % 2].client


@pytest.fixture
async def pair(empty_dsn: str, tmp_path: Path) -> AsyncIterator[Pair]:
    env = environment(empty_dsn)
    async with AsyncExitStack() as stack:
        working, plain = await asyncio.gather(
            stack.enter_async_context(served("--with-worker", env=env, directory=tmp_path)),
            stack.enter_async_context(served(env=env, directory=tmp_path)),
        )
        yield Pair(empty_dsn, working, plain)


@pytest.fixture
async def looking(pair: Pair) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(pair.dsn)
    yield conn
    await conn.close()


async def _two_that_start_at_once_on_an_empty_database_are_both_ready(pair: Pair, looking: asyncpg.Connection) -> None:
    for service in (pair.working, pair.plain):
        assert (await service.client.get("/readyz")).json()["status"] == "pass"
        assert (await service.client.get("/v1/tenants")).status_code == 200, "one bootstrap key serves both"
    assert await looking.fetchval("SELECT count(*) FROM bf_control.api_key") == 1
    response = await pair.plain.client.post("/v1/schema/upgrade", headers={"Prefer": "wait=30"})
    assert response.status_code == 200, response.text
    assert response.json()["up_to_date"] is True


async def _equal_posts_at_once_with_one_key_make_one_tenant(pair: Pair, looking: asyncpg.Connection) -> None:
    headers = {"Idempotency-Key": "storm", "Prefer": "wait=20"}
    body = {"tenant_id": "storm", "tenant_name": "Storm"}
    responses = await asyncio.gather(
        *(pair.any(n).post("/v1/tenants", json=body, headers=headers) for n in range(_EQUAL))
    )
    counted = Counter(response.status_code for response in responses)
    assert counted.keys() <= {201, 202, 409}, counted
    assert counted[201] + counted[202] >= 1
    for response in responses:
        if response.status_code == 409:
            problem(response, 409, "idempotency_key_in_flight")
    firsts = [r for r in responses if r.status_code in {201, 202} and "idempotent-replayed" not in r.headers]
    assert len(firsts) == 1
    assert await looking.fetchval("SELECT count(*) FROM bf_control.operation WHERE tenant_id = 'storm'") == 1
    replay = await pair.plain.client.post("/v1/tenants", json=body, headers=headers)
    assert (replay.status_code, replay.headers["idempotent-replayed"]) == (201, "true")


async def _posts_for_one_id_under_different_keys_let_one_through(pair: Pair, looking: asyncpg.Connection) -> None:
    responses = await asyncio.gather(
        *(
            pair.any(n).post(
                "/v1/tenants",
                json={"tenant_id": "rivals", "tenant_name": f"Rival {n}"},
                headers={"Idempotency-Key": f"rival-{n}", "Prefer": "wait=20"},
            )
            for n in range(_RIVALS)
        )
    )
    assert Counter(response.status_code for response in responses) == {201: 1, 409: _RIVALS - 1}
    assert await looking.fetchval("SELECT count(*) FROM bf_control.operation WHERE tenant_id = 'rivals'") == 1


async def _a_server_with_other_settings_than_the_database_refuses_and_names_them(
    pair: Pair, _: asyncpg.Connection
) -> None:
    wrong = {"BF_SCHEMA_NAME": "bf_other", "BF_APP_ROLE": "other_role", "BF_ENABLE_RLS": "false"}
    for command in (["serve", "--port", "1"], ["worker"]):
        finished = await bf_admin(*command, env=environment(pair.dsn, **wrong))
        assert finished.code == 1, finished
        for name, value in wrong.items():
            assert f"{name} is {value} here" in finished.stderr, finished.stderr
        assert "Traceback" not in finished.stderr


async def _on_sigterm_a_waiting_request_is_answered_202_at_once_and_the_process_ends_with_0(
    pair: Pair, looking: asyncpg.Connection
) -> None:
    """The operation is held by a lock of the test's, and finished by the other process afterwards."""
    assert pair.plain.process.returncode is None
    holder = await asyncpg.connect(pair.dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE bf_shared.tenant_config IN SHARE MODE")
    body = {"tenant_id": "patient", "tenant_name": "P"}
    waiting = asyncio.create_task(pair.plain.client.post("/v1/tenants", json=body, headers={"Prefer": "wait=25"}))
    await waiting_for_locks(looking)
    begun = asyncio.get_running_loop().time()
    pair.plain.process.send_signal(signal.SIGTERM)
    response = await waiting
    assert asyncio.get_running_loop().time() - begun < 2
    assert response.status_code == 202
    assert response.json()["status"] in {"queued", "running"}
    assert await asyncio.wait_for(pair.plain.process.wait(), 25) == 0
    assert asyncio.get_running_loop().time() - begun < 8
    await transaction.rollback()
    await holder.close()
    await oracle.settled(looking)
    assert (await pair.working.client.get("/v1/tenants/patient")).json()["state"] == "active"


async def _a_server_that_was_told_to_stop_finishes_the_job_in_hand(pair: Pair, looking: asyncpg.Connection) -> None:
    holder = await asyncpg.connect(pair.dsn)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("LOCK TABLE bf_shared.tenant_config IN SHARE MODE")
    body = {"tenant_id": "in_hand", "tenant_name": "I"}
    assert (await pair.working.client.post("/v1/tenants", json=body)).status_code == 202
    await waiting_for_locks(looking)
    pair.working.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    await transaction.rollback()
    await holder.close()
    assert await asyncio.wait_for(pair.working.process.wait(), 25) == 0
    assert await looking.fetchval("SELECT state FROM bf_control.tenant WHERE tenant_id = 'in_hand'") == "active"
    await oracle.settled(looking, within=1)
    await oracle.assert_clean(pair.dsn)


async def _the_logs_have_every_request_by_its_id_and_no_secret(pair: Pair, _: asyncpg.Connection) -> None:
    """Both processes have ended, and written all they will."""
    key = pair.working.client.headers["authorization"].removeprefix("Bearer ")
    password = pair.dsn.partition("://")[2].partition("@")[0].partition(":")[2]
    for service in (pair.working, pair.plain):
        text = service.log.read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert lines
        for secret in (key, key.partition(".")[2], password, pair.dsn):
            assert secret not in text
        requests = [line for line in lines if line["event"] == "request"]
        assert requests
        assert all(line["request_id"] and line["status"] and line["path"] for line in requests)
        assert not [line for line in lines if line["level"] in {"error", "critical"}], text
    done = [json.loads(line) for line in pair.working.log.read_text().splitlines() if "operation_succeeded" in line]
    assert {line["tenant_id"] for line in done if line["kind"] == "tenant.provision"} >= {"storm", "rivals"}
    assert all(line["request_id"] and line["operation_id"] for line in done)


async def test_the_life_of_two_processes(pair: Pair, looking: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    """In this order: each step needs the ones before it, and starting processes is what takes time."""
    for step in (
        _two_that_start_at_once_on_an_empty_database_are_both_ready,
        _equal_posts_at_once_with_one_key_make_one_tenant,
        _posts_for_one_id_under_different_keys_let_one_through,
        _a_server_with_other_settings_than_the_database_refuses_and_names_them,
        _on_sigterm_a_waiting_request_is_answered_202_at_once_and_the_process_ends_with_0,
        _a_server_that_was_told_to_stop_finishes_the_job_in_hand,
        _the_logs_have_every_request_by_its_id_and_no_secret,
    ):
        with subtests.test(step.__name__.strip("_").replace("_", " ")):
            await step(pair, looking)
