"""Faults of whole processes and servers: each turns its check red, and what mends it green again."""

import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.collect.model import Collector
from app.db.embedded import SUPERUSER, EmbeddedServer
from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from app.settings import Settings
from tests.collect.support import collect
from tests.health.asking import becomes, health, judge_by
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for
from tests.support.polling import ended, until
from tests.support.processes import background, environment
from tests.support.standby import standby_of

_CONNECTIONS = 60


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A server that takes few clients, and may have standbys."""
    settings = {"fsync": "off", "max_connections": str(_CONNECTIONS)}
    running = Cluster.start(tmp_path_factory.mktemp("faults") / "data", settings=settings)
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def own_dsn(own: Cluster) -> str:
    dsn = await own.create_database()
    async with ddl_database(settings_for(dsn), application_name="test") as database:
        await upgrade.run(database, files.migrations(), Target())
    return dsn


def _settings(dsn: str, directory: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=directory / "admin-key", health_interval=0.05)


@pytest.fixture
async def api(own_dsn: str, tmp_path: Path) -> AsyncIterator[Api]:
    """Without a worker."""
    async with running_api(_settings(own_dsn, tmp_path), with_worker=False) as running:
        yield running


async def test_a_worker_that_is_killed(alone: Api, dsn: str) -> None:
    judge_by(alone, worker_lost=timedelta(seconds=7))  # it says every five seconds that it lives
    async with background("worker", env=environment(dsn)) as worker:
        assert (await becomes(alone, "workers", "pass", within=40))["observed"] == 1
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
        assert "bf-admin worker" in (await becomes(alone, "workers", "fail"))["reason"]
    async with background("worker", env=environment(dsn)):
        told = await becomes(alone, "workers", "warn", within=40)
        assert (told["observed"], "1 ended without a word" in told["reason"]) == (1, True)
        judge_by(alone, worker_told=timedelta(seconds=8))
        await becomes(alone, "workers", "pass")


async def test_more_clients_than_is_good_for_the_server(own_dsn: str, api: Api) -> None:
    await collect(own_dsn, Collector.FLEET)
    before = (await becomes(api, "connections", "pass"))["observed"]
    async with AsyncExitStack() as clients:
        for _ in range(round(_CONNECTIONS * (83 - before) / 100)):
            clients.push_async_callback((await asyncpg.connect(own_dsn)).close)
        await collect(own_dsn, Collector.FLEET)
        full = await becomes(api, "connections", "warn")
        assert (80 <= full["observed"] < 95, full["observedUnit"]) == (True, "percent")
    await collect(own_dsn, Collector.FLEET)
    await becomes(api, "connections", "pass")


async def test_a_standby_that_stays_behind(own: Cluster, own_dsn: str, api: Api, tmp_path: Path) -> None:
    judge_by(api, replication=(timedelta(seconds=1), timedelta(hours=1)))
    superuser = await own.superuser(own_dsn.rpartition("/")[2])
    await superuser.execute("GRANT pg_monitor TO bf_migrator")  # who is not told of lags cannot tell of them

    async def status() -> dict[str, Any]:
        """After something for the standby to do, and a look at how it did."""
        await superuser.execute("SELECT txid_current()")
        await superuser.execute("CREATE TABLE public.written (); DROP TABLE public.written")
        await collect(own_dsn, Collector.FLEET)
        found: dict[str, Any] = (await health(api))["checks"].get("replication", {})
        return found

    async def is_(wanted: str) -> bool:
        return (await status()).get("status") == wanted

    try:
        assert await status() == {}, "there is none yet"
        with standby_of(own, tmp_path / "standby") as standby:
            await until(lambda: is_("pass"), what="a standby that keeps up")
            await _delayed(standby, "2s")
            await until(lambda: is_("warn"), within=40, what="a standby that stays behind")
            await _delayed(standby, "0")
            await until(lambda: is_("pass"), within=40, what="a standby that has caught up")
    finally:
        await superuser.execute("REVOKE pg_monitor FROM bf_migrator")
        await superuser.close()


async def _delayed(standby: EmbeddedServer, by: str) -> None:
    """What the primary has committed is applied so much later from now on."""
    conn = await asyncpg.connect(standby.url(user=SUPERUSER, password=standby.superuser_password, database="postgres"))
    await conn.execute(f"ALTER SYSTEM SET recovery_min_apply_delay = '{by}'")
    await conn.execute("SELECT pg_reload_conf()")
    await conn.close()


async def test_a_schema_of_an_earlier_release(empty_dsn: str, tmp_path: Path) -> None:
    settings, every = _settings(empty_dsn, tmp_path), files.migrations()
    newest = max(migration.version for migration in every if migration.layer == "tenant")
    earlier = [one for one in every if (one.layer, one.version) != ("tenant", newest)]
    async with ddl_database(settings, application_name="test") as database, database.connection() as conn:
        await upgrade.run(database, earlier, Target())
        await make_tenant(conn)  # type: ignore[arg-type]
    async with running_api(settings, with_worker=True) as running:
        pending = await becomes(running, "migrations", "warn")
        assert (pending["observed"], pending["links"]) == (1, {"related": "/v1/schema"})
        upgrading = await running.client.post("/v1/schema/upgrade")
        assert (await ended(running.client, upgrading.headers["operation-location"]))["status"] == "succeeded"
        await becomes(running, "migrations", "pass")
        await becomes(running, "tenants_behind", "pass")
