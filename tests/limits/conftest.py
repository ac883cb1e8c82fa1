"""A tenant, and an application that works in it."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from tests.schema.conftest import bare_cluster, site
from tests.support.cluster import Cluster
from tests.support.data import make_tenant

__all__ = ["bare_cluster", "site"]

Connect = Callable[[], Awaitable[asyncpg.Connection]]


@pytest.fixture
async def tenant(conn: asyncpg.Connection) -> str:
    await make_tenant(conn)
    return "acme_corp"


@pytest.fixture
async def connect(cluster: Cluster, dsn: str, superuser: asyncpg.Connection) -> AsyncIterator[Connect]:
    """Connections of a login user who has the application role."""
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    await superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE app_role")
    opened: list[asyncpg.Connection] = []

    async def another() -> asyncpg.Connection:
        opened.append(await asyncpg.connect(cluster.dsn(dsn.rpartition("/")[2], name, password)))
        return opened[-1]

    yield another
    for each in opened:
        await each.close()
    await superuser.execute(f"DROP ROLE {name}")


@pytest.fixture
async def application(tenant: str, connect: Connect) -> asyncpg.Connection:
    return await connect()
