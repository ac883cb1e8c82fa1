"""kill -9 and SIGSTOP of a worker, at any moment: the tenant is whole or absent, and its operation ends."""

import asyncio
import os
import random
import signal
from functools import partial
from pathlib import Path

import asyncpg

from app.settings import Settings
from tests.support import gates, oracle
from tests.support.api import Api, running_api
from tests.support.data import schemas
from tests.support.polling import ended, until, waiting_for_locks
from tests.support.processes import environment, logged
from tests.support.workers import impatient_worker

_FULL = os.environ.get("BF_TEST_FULL") == "1"
_AT_ONCE = 6
_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bf-admin worker'"


async def test_a_worker_killed_at_any_moment_leaves_tenants_whole_or_absent(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    """One worker builds several tenants at once, each held at another point, and is killed: then another takes over.

    In the full run, after every single statement of a tenant.
    """
    last = await gates.statements(conn)
    places = list(range(last + 1)) if _FULL else [0, 1, last // 2, last]
    rounds = [places[start : start + _AT_ONCE] for start in range(0, len(places), _AT_ONCE)]
    points = {f"gate_{place}": place for place in places}
    await gates.install(conn, points)
    for number, chosen in enumerate(rounds):
        held = {f"gate_{place}": place for place in chosen}
        await _kill_at(idle_api, settings, conn, superuser, tmp_path / f"{number}.log", held)
    async with impatient_worker(settings):
        await oracle.settled(conn)
    for tenant_id in points:
        tenant = (await idle_api.client.get(f"/v1/tenants/{tenant_id}")).json()
        assert tenant["state"] == "active", tenant
        operation = (await idle_api.client.get(tenant["last_operation"])).json()
        # More than two where a later round's worker took over a tenant of an earlier one, and died of its own.
        assert operation["attempts"] >= 2, operation
    await oracle.assert_clean(settings.direct_dsn())


async def _kill_at(
    api: Api,
    settings: Settings,
    conn: asyncpg.Connection,
    holder: asyncpg.Connection,
    log: Path,
    held: dict[str, int],
) -> None:
    """Ends with the worker dead, and its tenants absent."""
    for tenant_id in held:
        response = await api.client.post("/v1/tenants", json={"tenant_id": tenant_id, "tenant_name": "Held"})
        assert response.status_code == 202
    await gates.shut(holder, held)
    env = environment(settings.direct_dsn(), BF_WORKER_CONCURRENCY=str(len(held) + 4))
    async with logged("worker", env=env, log=log) as worker:
        await gates.reached(conn, len(held))
        worker.send_signal(signal.SIGKILL)
        assert await worker.wait() == -signal.SIGKILL
    await gates.open_all(holder)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation WHERE status = 'running'") >= len(held)
    assert not {f"bf_{tenant_id}" for tenant_id in held} & await schemas(conn)


async def test_a_worker_killed_before_its_claim_and_after_its_commit(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    """Before: the job is picked, and the operation's row cannot be written. After: the job cannot be put away."""
    early = (await idle_api.client.post("/v1/tenants", json={"tenant_id": "early", "tenant_name": "E"})).json()
    late = (await idle_api.client.post("/v1/tenants", json={"tenant_id": "late", "tenant_name": "L"})).json()
    point = {"late": 1}
    await gates.install(conn, point)
    await gates.shut(superuser, point)
    async with superuser.transaction():
        await superuser.execute("SELECT FROM bf_control.operation WHERE id = $1 FOR UPDATE", early["id"])
        async with logged("worker", env=environment(settings.direct_dsn()), log=tmp_path / "worker.log") as worker:
            await waiting_for_locks(conn, 2)
            # From here on both jobs are picked, and no job can be put away.
            await superuser.execute("LOCK TABLE bf_queue.pgqueuer_log IN EXCLUSIVE MODE")
            await gates.open_all(superuser)
            await ended(idle_api.client, f"/v1/operations/{late['id']}")
            await waiting_for_locks(conn, 2)
            worker.send_signal(signal.SIGKILL)
            assert await worker.wait() == -signal.SIGKILL
    assert (await idle_api.client.get("/v1/tenants/early")).json()["state"] == "provisioning"
    assert await conn.fetchval("SELECT count(*) FROM bf_queue.pgqueuer WHERE status = 'picked'") == 2
    async with impatient_worker(settings):
        await oracle.settled(conn)
    # The server may have finished the claim of the worker that was dead by then.
    for operation, attempts in ((early, {1, 2}), (late, {1})):
        found = (await idle_api.client.get(f"/v1/operations/{operation['id']}")).json()
        assert found["status"] == "succeeded", found
        assert found["attempts"] in attempts, found
    await oracle.assert_clean(settings.direct_dsn())


async def _has_started(log: Path) -> bool:
    """What it looks at when it starts has been seen."""
    return "ready" in log.read_text()


async def test_a_stopped_worker_that_goes_on_writes_nothing(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    """SIGSTOP after the claim; another takes over when the heartbeat is missed; SIGCONT, and the first gives up."""
    log = tmp_path / "worker.log"
    async with logged("worker", env=environment(settings.direct_dsn()), log=log) as worker:
        await until(partial(_has_started, log), what="the worker's start")
        worker.send_signal(signal.SIGSTOP)
        response = await idle_api.client.post("/v1/tenants", json={"tenant_id": "acme_corp", "tenant_name": "ACME"})
        location = response.headers["operation-location"]
        async with superuser.transaction():
            await superuser.execute("LOCK TABLE bf_control.tenant_statement IN ACCESS EXCLUSIVE MODE")
            worker.send_signal(signal.SIGCONT)
            await waiting_for_locks(conn)
            assert (await idle_api.client.get(location)).json()["status"] == "running"
            worker.send_signal(signal.SIGSTOP)
        async with running_api(settings, with_worker=True) as other:
            operation = await ended(other.client, location, within=40)
            assert (operation["status"], operation["attempts"]) == ("succeeded", 2), operation
        tenant = (await idle_api.client.get("/v1/tenants/acme_corp")).json()
        worker.send_signal(signal.SIGCONT)

        async def gave_up() -> bool:
            return "operation_taken_over" in log.read_text()

        await until(gave_up, what="the stale worker's giving up")
        assert (await idle_api.client.get(location)).json() == operation
        assert (await idle_api.client.get("/v1/tenants/acme_corp")).json() == tenant
        await oracle.settled(conn)
        worker.send_signal(signal.SIGTERM)
        assert await worker.wait() == 0
    await oracle.assert_clean(settings.direct_dsn())


async def test_workers_killed_at_random_lose_nothing(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    """Tenants are asked for all the while; what is left is done by a last worker."""
    seed = int(os.environ.get("BF_TEST_SEED", "20250101"))
    print(f"seed {seed}: set BF_TEST_SEED to replay another")  # noqa: T201
    generator = random.Random(seed)  # noqa: S311 -- a test's
    kills, made = (100 if _FULL else 2), 0
    env = environment(settings.direct_dsn())
    for number in range(kills):
        async with logged("worker", env=env, log=tmp_path / f"{number}.log") as worker:
            for _ in range(4):
                body = {"tenant_id": f"tenant_{made}", "tenant_name": "T"}
                assert (await idle_api.client.post("/v1/tenants", json=body)).status_code == 202
                made += 1
            await until(lambda: conn.fetchval(_CONNECTED), what="the worker's connection")
            await asyncio.sleep(generator.uniform(0, 0.8))
            worker.send_signal(signal.SIGKILL)
            await worker.wait()
    async with impatient_worker(settings):
        await oracle.settled(conn)
    for number in range(made):
        assert (await idle_api.client.get(f"/v1/tenants/tenant_{number}")).json()["state"] == "active"
    await oracle.assert_clean(settings.direct_dsn())
