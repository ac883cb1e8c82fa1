"""Metrics of a process whose database is away: it says so, to who was known before, and tells of itself."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.apikeys.model import Role
from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from tests.metrics.support import Scraper
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.data import settings_for
from tests.support.problems import problem


@pytest.fixture
async def private(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster that may be stopped: nobody else is in it."""
    cluster = await asyncio.to_thread(Cluster.start, tmp_path_factory.mktemp("private") / "data")
    yield cluster
    await asyncio.to_thread(cluster.stop)


async def test_a_scrape_without_the_database_says_so_and_one_after_it_recovers(
    private: Cluster, tmp_path: Path
) -> None:
    settings = settings_for(await private.create_database("bf"), bootstrap_admin_key_file=tmp_path / "admin-key")
    async with ddl_database(settings, application_name="tests") as database:
        await upgrade.run(database, files.migrations(), Target())
    async with running_api(settings, with_worker=False) as api:
        scraper = await Scraper.of(api)
        assert (await scraper()).value("bf_database_up") == 1
        stranger, revoked = await api.key(Role.METRICS), await _revoked(api)
        await asyncio.to_thread(private.stop_immediate)
        await asyncio.sleep(5.1)  # what is known of the key is no longer believed by itself

        begun = asyncio.get_running_loop().time()
        down = await scraper()
        assert asyncio.get_running_loop().time() - begun < 4
        assert down.value("bf_database_up") == 0
        assert (down.value("bf_db_pool_refused_total", pool="requests") or 0) > 0
        assert down.value("process_start_time_seconds") is not None
        assert "bf_tenants" not in down.families, "nothing is made up"
        assert "bf_operations" not in down.families, "a counter is absent, and not 0"
        await _refused(api, scraper, stranger, revoked)

        await asyncio.to_thread(private.start_again)
        assert (await scraper()).value("bf_database_up") == 1


async def _revoked(api: Api) -> str:
    """A key that was good, and then revoked, of which this process was not told."""
    key = await api.key(Role.METRICS)
    assert (await api.client.get("/metrics", headers={"Authorization": f"Bearer {key}"})).status_code == 200
    async with api.database.connection() as conn:
        await conn.execute("ALTER TABLE bf_control.api_key DISABLE TRIGGER USER")
        await conn.execute("UPDATE bf_control.api_key SET revoked_at = now() WHERE id = $1", key[4:20])
        await conn.execute("ALTER TABLE bf_control.api_key ENABLE TRIGGER USER")
    kept = api.services.known_keys._kept
    if key[4:20] in kept:
        await asyncio.sleep(5.1)
        assert (await api.client.get("/metrics", headers={"Authorization": f"Bearer {key}"})).status_code == 401
    return key


async def _refused(api: Api, scraper: Scraper, *keys: str) -> None:
    """Whoever this process does not know, or knows better; and with a good key whatever else needs the database."""
    wrong = scraper.headers["Authorization"][:-1] + ("A" if not scraper.headers["Authorization"].endswith("A") else "B")
    for presented in (*(f"Bearer {key}" for key in keys), wrong):
        problem(await api.client.get("/metrics", headers={"Authorization": presented}), 503)
    problem(await api.client.get("/v1/operations"), 503)
    problem(await api.client.get("/metrics"), 503)
