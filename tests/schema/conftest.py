"""A second cluster: the first one's template database keeps our roles in use."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from app.db.pool import Database
from app.db.pools import ddl_database
from app.schema import files, script
from app.schema.expected import ExpectedTenants
from tests.schema.support import LONGEST, Site
from tests.support.cluster import Cluster
from tests.support.data import settings_for


@pytest.fixture(scope="session")
def bare_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Without our roles: its tests ask who makes and who drops them."""
    running = Cluster.start(tmp_path_factory.mktemp("bare") / "data")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
async def site(bare_cluster: Cluster) -> AsyncIterator[Site]:
    made = Site(bare_cluster, await bare_cluster.create_database())
    yield made
    await made.clean_up()


@pytest.fixture(scope="session")
async def built(cluster: Cluster, template: str) -> AsyncIterator[str]:
    """The name of a database with two tenants, acme_corp and LONGEST, for tests that change nothing for good."""
    name = "built"
    dsn = await cluster.create_database(name, template=template)
    conn = await asyncpg.connect(dsn)
    for tenant_id in ("acme_corp", LONGEST):
        await conn.execute("SELECT bf_shared.setup_tenant($1, 'A tenant', 'tests')", tenant_id)
    await conn.close()
    yield name
    await cluster.drop_database(name)


@pytest.fixture(scope="session")
async def superuser_connection(cluster: Cluster, built: str) -> AsyncIterator[asyncpg.Connection]:
    """One for all tests: their DDL is rolled back, which no cached statement would survive."""
    opened = await asyncpg.connect(cluster.superuser_dsn(built), statement_cache_size=0)
    yield opened
    await opened.close()


@pytest.fixture
async def admin(superuser_connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A superuser in `built`, in a transaction that is rolled back."""
    transaction = superuser_connection.transaction()
    await transaction.start()
    yield superuser_connection
    await transaction.rollback()


@pytest.fixture(scope="session")
async def built_database(cluster: Cluster, built: str) -> AsyncIterator[Database]:
    async with ddl_database(settings_for(cluster.dsn(built)), application_name="built") as opened:
        yield opened


@pytest.fixture(scope="session")
async def built_expected(built_database: Database) -> ExpectedTenants:
    """What the tenants in `built` must look like; prepared for the latest version."""
    made = ExpectedTenants(built_database, files.migrations())
    await made.prepare(script.latest(files.migrations())["tenant"])
    return made
