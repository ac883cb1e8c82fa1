"""Databases with tenants acme and globex. Roles of tenants are the cluster's: they go with the database here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for

ROLES = Target(tenant_roles=True)

_OURS = r"SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname ~ concat('^bf_tenants?_.*', $1::text, '$')"


@pytest.fixture
async def roles_dsn(cluster: Cluster, dsn: str) -> AsyncIterator[str]:
    """The same database as `dsn`, with BF_TENANT_ROLES=true from now on."""
    await use(dsn, ROLES)
    yield dsn
    await _drop(cluster, dsn)


@pytest.fixture(scope="module")
async def two(cluster: Cluster, template: str) -> AsyncIterator[str]:
    """For all tests of a module: they leave the two tenants as they found them."""
    async with _two(cluster, template, Target()) as dsn:
        yield dsn


@pytest.fixture(scope="module")
async def two_with_roles(cluster: Cluster, template: str) -> AsyncIterator[str]:
    """The same with BF_TENANT_ROLES=true."""
    async with _two(cluster, template, ROLES) as dsn:
        yield dsn


async def use(dsn: str, target: Target) -> upgrade.Outcome:
    async with ddl_database(settings_for(dsn), application_name="test") as database:
        return await upgrade.run(database, files.migrations(), target)


@asynccontextmanager
async def _two(cluster: Cluster, template: str, target: Target) -> AsyncIterator[str]:
    dsn = await cluster.create_database(template=template)
    if target.tenant_roles:
        await use(dsn, target)
    owner = await asyncpg.connect(dsn)
    for tenant_id in ("acme", "globex"):
        await make_tenant(owner, tenant_id)
    await owner.close()
    yield dsn
    await _drop(cluster, dsn)


async def _drop(cluster: Cluster, dsn: str) -> None:
    name = dsn.rpartition("/")[2]
    admin = await cluster.superuser("postgres")
    number = await admin.fetchval("SELECT oid FROM pg_database WHERE datname = $1", name)
    await cluster.drop_database(name)
    for row in await admin.fetch(_OURS, str(number)):
        await admin.execute(row[0])
    await admin.close()
