"""Databases whose tenants have roles: those are the cluster's, and go with the database."""

from collections.abc import AsyncIterator

import pytest

from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from tests.support.cluster import Cluster
from tests.support.data import settings_for

ROLES = Target(tenant_roles=True)

_OURS = r"SELECT format('DROP ROLE %I', rolname) FROM pg_roles WHERE rolname ~ concat('^bf_tenants?_.*', $1::text, '$')"


@pytest.fixture
async def roles_dsn(cluster: Cluster, dsn: str) -> AsyncIterator[str]:
    """The same database as `dsn`, with BF_TENANT_ROLES=true from now on."""
    await use(dsn, ROLES)
    yield dsn
    name = dsn.rpartition("/")[2]
    admin = await cluster.superuser("postgres")
    number = await admin.fetchval("SELECT oid FROM pg_database WHERE datname = $1", name)
    await cluster.drop_database(name)
    for row in await admin.fetch(_OURS, str(number)):
        await admin.execute(row[0])
    await admin.close()


async def use(dsn: str, target: Target) -> upgrade.Outcome:
    async with ddl_database(settings_for(dsn), application_name="test") as database:
        return await upgrade.run(database, files.migrations(), target)
