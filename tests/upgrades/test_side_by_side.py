"""Old workers on a newer schema, new ones on an older: what docs/living-upgrades.md promises, with real processes.

The older release is the one before this one, taken from the git history, and this one itself, beside one to come.
A source distribution, and a repository's very first release, have no earlier one to run: there the first half is
skipped, and says so; the same in a clone that was cut short (`--depth`).
"""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support import oracle
from tests.support.polling import ended, until
from tests.support.processes import environment, run
from tests.upgrades import releases
from tests.upgrades.releases import Release

_VERSIONS = "SELECT tenant_id, state, schema_version FROM bf_control.tenant ORDER BY tenant_id"
_OF_NO_KIND_KNOWN = """
INSERT INTO bf_control.operation (id, kind, actor, created_at)
VALUES ('00000000-0000-4000-8000-000000000000', 'tenant.to_come', 'tests', now() - interval '1 minute')
"""
_LEFT = "SELECT status, attempts, error FROM bf_control.operation WHERE kind = 'tenant.to_come'"
_DELIVERED = """
SELECT count(*) FROM bf_queue.pgqueuer_log l WHERE l.status = 'successful'
   AND l.job_id IN (SELECT p.job_id FROM bf_queue.pgqueuer_log p WHERE p.status = 'picked')
"""


@pytest.fixture(scope="session", params=["before", "this"])
def older(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Release:
    if request.param == "this":
        return releases.THIS
    found = releases.before(tmp_path_factory.mktemp("before"))
    if found is None:
        pytest.skip("no earlier release in this history; where it was cut short: git fetch --unshallow")
    return found


@pytest.fixture(scope="session")
def newer(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return releases.to_come(tmp_path_factory.mktemp("to_come"))


@pytest.fixture
def env(empty_dsn: str) -> dict[str, str]:
    return environment(empty_dsn)


@pytest.fixture
async def looking(empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(empty_dsn)
    yield conn
    await conn.close()


async def _upgrade(release: Release, env: dict[str, str]) -> None:
    finished = await release.run("upgrade", env=env)
    assert finished.code == 0, finished


async def _create(client: httpx.AsyncClient, tenant_id: str) -> dict[str, Any]:
    body = {"tenant_id": tenant_id, "tenant_name": tenant_id, "features_enabled": ["ai_insights"]}
    response = await client.post("/v1/tenants", json=body, headers={"Prefer": "wait=30"})
    assert response.status_code == 201, response.text
    tenant: dict[str, Any] = response.json()
    assert tenant["state"] == "active"
    return tenant


@asynccontextmanager
async def _working(release: Release, env: dict[str, str], log: Path) -> AsyncIterator[None]:
    """A worker that ends by itself when it is told to."""
    async with release.work(env=env, log=log) as process:
        yield
        assert process.returncode is None, f"the worker ended: see {log}"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 25) == 0, f"see {log}"


async def test_each_release_runs_its_own_code(older: Release, newer: Release, env: dict[str, str]) -> None:
    for release in (older, newer):
        found = await run(sys.executable, "-c", "import app; print(app.__file__)", env=env, cwd=release.place)
        assert found.stdout.strip() == str(release.place / "app" / "__init__.py")


async def test_an_old_worker_goes_on_when_the_schema_becomes_newer(
    older: Release, newer: Release, env: dict[str, str], empty_dsn: str, looking: asyncpg.Connection, tmp_path: Path
) -> None:
    """In the order that is written down: the upgrade job, under old processes that run; then the rest."""
    await _upgrade(older, env)
    log = tmp_path / "worker.log"
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_working(older, env, log))
        old = (await stack.enter_async_context(older.serve(env=env, directory=tmp_path))).client
        assert (await _create(old, "earlier"))["schema_version"] == older.tenant_version

        await _upgrade(newer, env)
        assert (await old.get("/v1/tenants/earlier")).json()["schema_version"] == newer.tenant_version
        assert (await _create(old, "by_old"))["schema_version"] == newer.tenant_version

        new = (await stack.enter_async_context(newer.serve(env=env, directory=tmp_path))).client
        assert (await _create(new, "by_new"))["schema_version"] == newer.tenant_version
        for client in (old, new):
            items = (await client.get("/v1/tenants")).json()["items"]
            assert [item["tenant_id"] for item in items] == ["by_new", "by_old", "earlier"]
        assert (await old.get("/readyz")).status_code == 200
    assert "Traceback" not in log.read_text()
    await oracle.settled(looking)
    await oracle.assert_clean(empty_dsn)


async def test_old_processes_start_on_a_newer_schema(
    older: Release, newer: Release, env: dict[str, str], empty_dsn: str, looking: asyncpg.Connection, tmp_path: Path
) -> None:
    """A rollback: processes of the older release again, the database as it is. Its own upgrade refuses and says why."""
    await _upgrade(newer, env)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_working(older, env, tmp_path / "worker.log"))
        old = (await stack.enter_async_context(older.serve(env=env, directory=tmp_path))).client
        assert (await _create(old, "rolled_back"))["schema_version"] == newer.tenant_version
        accepted = await old.post("/v1/schema/upgrade")
        operation = await ended(old, accepted.headers["operation-location"])
        assert operation["status"] == "failed", operation
        assert "newer than this release" in operation["error"]["detail"]
    refused = await older.run("upgrade", env=env)
    assert refused.code == 1
    assert "newer than this release" in refused.stderr
    assert await looking.fetchval("SELECT schema_version FROM bf_control.tenant") == newer.tenant_version
    await oracle.settled(looking)
    await oracle.assert_clean(empty_dsn)


async def test_a_new_worker_serves_an_older_schema(
    older: Release, newer: Release, env: dict[str, str], empty_dsn: str, looking: asyncpg.Connection, tmp_path: Path
) -> None:
    """Its start adds to the service's own schema; tenants stay at the older version until the upgrade."""
    await _upgrade(older, env)
    async with AsyncExitStack() as stack:
        old = (await stack.enter_async_context(older.serve(env=env, directory=tmp_path))).client
        async with _working(newer, env, tmp_path / "new.log"):
            assert (await _create(old, "by_old"))["schema_version"] == older.tenant_version
            new = (await stack.enter_async_context(newer.serve(env=env, directory=tmp_path))).client
            assert (await _create(new, "by_new"))["schema_version"] == older.tenant_version
            pending = {m["layer"] for m in (await new.get("/v1/schema")).json()["pending"]}
            assert pending == {"shared", "tenant"}
        async with _working(older, env, tmp_path / "old.log"):
            assert (await _create(new, "by_old_again"))["schema_version"] == older.tenant_version
            await _upgrade(newer, env)
            assert (await _create(new, "upgraded"))["schema_version"] == newer.tenant_version
    rows = [tuple(row) for row in await looking.fetch(_VERSIONS)]
    assert rows == [(name, "active", newer.tenant_version) for name in ("by_new", "by_old", "by_old_again", "upgraded")]
    await oracle.settled(looking)
    await oracle.assert_clean(empty_dsn)


async def test_work_of_a_kind_that_a_worker_does_not_know_waits_for_one_that_does(
    older: Release, env: dict[str, str], looking: asyncpg.Connection, tmp_path: Path
) -> None:
    """Its job is handed to an old worker, who leaves the operation as it is; the sweep queues it again."""
    await _upgrade(older, env)
    await looking.execute(_OF_NO_KIND_KNOWN)
    for turn in (1, 2):
        async with _working(older, env, tmp_path / "worker.log"):

            async def delivered(turn: int = turn) -> bool:
                count: int = await looking.fetchval(_DELIVERED)
                return count == turn

            await until(delivered, what=f"delivery {turn} of a job of an unknown kind")
        assert tuple(await looking.fetchrow(_LEFT)) == ("queued", 0, None)
    assert "Traceback" not in (tmp_path / "worker.log").read_text()
