"""One cluster per xdist worker, one migrated template database in it, a clone of that per test."""

import secrets
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from app.db.pool import Database
from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.expected import ExpectedTenants
from app.schema.script import Target
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.data import settings_for

_TEMPLATE = "bf_template"


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Roles are cluster-wide: tests that drop them must meet nobody else's."""
    running = Cluster.start(tmp_path_factory.mktemp("cluster") / "data")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
async def template(cluster: Cluster) -> str:
    """The name of a database that was upgraded with the guide's settings, and holds no tenant."""
    dsn = await cluster.create_database(_TEMPLATE)
    async with ddl_database(settings_for(dsn), application_name="template") as database:
        await upgrade.run(database, files.migrations(), Target())
    return _TEMPLATE


@pytest.fixture
async def empty_dsn(cluster: Cluster) -> AsyncIterator[str]:
    """A database nothing has been done to; the DSN is the migration user's."""
    name = f"empty_{secrets.token_hex(6)}"
    yield await cluster.create_database(name)
    await cluster.drop_database(name)


@pytest.fixture
async def dsn(cluster: Cluster, template: str) -> AsyncIterator[str]:
    """A migrated database without tenants; the DSN is the migration user's."""
    name = f"test_{secrets.token_hex(6)}"
    yield await cluster.create_database(name, template=template)
    await cluster.drop_database(name)


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key")


@pytest.fixture
async def database(settings: Settings) -> AsyncIterator[Database]:
    async with ddl_database(settings, application_name="test") as opened:
        yield opened


@pytest.fixture
def expected(database: Database) -> ExpectedTenants:
    return ExpectedTenants(database, files.migrations())


@pytest.fixture
async def conn(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A plain connection as the migration user."""
    opened = await asyncpg.connect(dsn)
    yield opened
    await opened.close()


@pytest.fixture
async def superuser(cluster: Cluster, dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to the same database."""
    opened = await cluster.superuser(dsn.rpartition("/")[2])
    yield opened
    await opened.close()


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    """The application with a worker, in this process; the caller has an admin key."""
    async with running_api(settings, with_worker=True) as running:
        yield running


@pytest.fixture
async def idle_api(settings: Settings) -> AsyncIterator[Api]:
    """The application without a worker: what it queues stays queued."""
    async with running_api(settings, with_worker=False) as running:
        yield running
