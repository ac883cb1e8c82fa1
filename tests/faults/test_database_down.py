"""The database goes away and comes back: the process stays, says so at once, and recovers by itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from app.settings import Settings
from tests.support import gates, oracle
from tests.support.api import Api
from tests.support.cluster import Cluster
from tests.support.data import settings_for
from tests.support.polling import ended, waiting_for_locks
from tests.support.problems import problem
from tests.support.processes import answers, environment, served

_RESTARTS = 5 if os.environ.get("BF_TEST_FULL") == "1" else 1


@pytest.fixture
async def private(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster that may be stopped: nobody else is in it."""
    cluster = await asyncio.to_thread(Cluster.start, tmp_path_factory.mktemp("private") / "data")
    yield cluster
    await asyncio.to_thread(cluster.stop)


async def _refused_at_once(client: httpx.AsyncClient) -> None:
    """Every kind of call is 503 within 2 s, and the process lives."""
    begun = asyncio.get_running_loop().time()
    responses = await asyncio.gather(
        client.get("/v1/tenants"),
        client.get("/v1/schema"),
        client.get("/v1/operations/x"),
        client.post("/v1/tenants", json={"tenant_id": "nobody", "tenant_name": "N"}, headers={"Prefer": "wait=20"}),
        client.post("/v1/schema/upgrade"),
    )
    assert asyncio.get_running_loop().time() - begun < 2.2
    for response in responses:
        problem(response, 503)
    assert (await client.get("/livez")).status_code == 200
    ready = await client.get("/readyz")
    assert ready.status_code == 503
    assert ready.headers["retry-after"]
    assert (await client.get("/")).status_code == 200


async def test_a_process_outlives_its_database_whenever_that_goes(private: Cluster, tmp_path: Path) -> None:
    dsn = await private.create_database("bf")
    admin = await private.superuser("postgres")
    # The cluster of tests commits asynchronously; what is acknowledged here must survive.
    await admin.execute("ALTER ROLE bf_migrator SET synchronous_commit = on")
    await admin.close()
    async with ddl_database(settings_for(dsn), application_name="tests") as database:
        await upgrade.run(database, files.migrations(), Target())
    await asyncio.to_thread(private.stop_immediate)
    (tmp_path / "admin-key").write_text(f"bfk_{'0' * 16}.{'A' * 43}\n")

    async with served("--with-worker", env=environment(dsn), directory=tmp_path, wanted="/livez") as service:
        client = service.client
        await _refused_at_once(client)
        assert "Not ready" in (await client.get("/")).text
        await asyncio.to_thread(private.start_again)
        await answers(client, "/readyz", process=service.process)
        assert (await _create(client, "first")).status_code == 201

        for number in range(_RESTARTS):
            accepted = await client.post("/v1/tenants", json={"tenant_id": f"mid_{number}", "tenant_name": "M"})
            assert accepted.status_code == 202
            await asyncio.to_thread(private.stop_immediate)
            await _refused_at_once(client)
            assert service.process.returncode is None
            await asyncio.to_thread(private.start_again)
            await answers(client, "/readyz", process=service.process)
            operation = await ended(client, accepted.headers["operation-location"], within=60)
            assert operation["status"] == "succeeded", operation
            assert (await _create(client, f"after_{number}")).status_code == 201

        conn = await asyncpg.connect(dsn)
        await oracle.settled(conn)
        await conn.close()
        await oracle.assert_clean(dsn)
        service.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(service.process.wait(), 25) == 0
    log = service.log.read_text()
    assert private.migration_password not in log
    assert "A" * 43 not in log


async def test_a_connection_that_is_cut_in_the_middle_is_no_failure_of_the_tenant(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> None:
    """The worker's backend is terminated inside its transaction, while everything else goes on."""
    points = {"cut": await gates.statements(conn) // 2}
    await gates.install(conn, points)
    await gates.shut(superuser, points)
    accepted = await api.client.post("/v1/tenants", json={"tenant_id": "cut", "tenant_name": "C"})
    await waiting_for_locks(conn)
    await superuser.fetch("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
    await gates.open_all(superuser)
    operation = await ended(api.client, accepted.headers["operation-location"])
    assert (operation["status"], operation["attempts"]) == ("succeeded", 2), operation
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_connection_that_is_cut_under_a_request_is_503(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_control.audit IN EXCLUSIVE MODE")
        body = {"tenant_id": "cut", "tenant_name": "C"}
        posting = asyncio.create_task(idle_api.client.post("/v1/tenants", json=body))
        await waiting_for_locks(conn)
        await superuser.fetch("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted")
        problem(await posting, 503, "database_busy")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0
    assert (await idle_api.client.post("/v1/tenants", json=body)).status_code == 202


async def _create(client: httpx.AsyncClient, tenant_id: str) -> httpx.Response:
    return await client.post(
        "/v1/tenants", json={"tenant_id": tenant_id, "tenant_name": "T"}, headers={"Prefer": "wait=20"}
    )
