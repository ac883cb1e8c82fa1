"""One served instance with a worker for all of these tests, and a client of each flavour."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
import pytest

from app.client import AsyncClient, Client
from tests.client.support import InThread, Proxy, Scripted, broken_line, scripted
from tests.support.cluster import Cluster
from tests.support.processes import environment, served

Connect: TypeAlias = Callable[..., AsyncClient]


@dataclass(frozen=True, slots=True)
class Service:
    url: str
    key: str
    dsn: str


@pytest.fixture(scope="session")
async def service(cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    name = f"client_{secrets.token_hex(6)}"
    dsn = await cluster.create_database(name, template=template)
    directory = tmp_path_factory.mktemp("client")
    env = environment(dsn, BF_BACKUP_URL=str(directory / "backups"))
    async with served("--with-worker", env=env, directory=directory) as running:
        key = running.client.headers["Authorization"].removeprefix("Bearer ")
        yield Service(url=str(running.client.base_url), key=key, dsn=dsn)
    await cluster.drop_database(name)


@pytest.fixture
async def looking(service: Service) -> AsyncIterator[asyncpg.Connection]:
    conn = await asyncpg.connect(service.dsn)
    yield conn
    await conn.close()


@pytest.fixture(params=["async", "sync"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Makes clients, and closes them: the test is written once, and runs with both flavours."""
    async with AsyncExitStack() as stack:

        def make(url: str, **arguments: Any) -> Any:
            arguments.setdefault("api_key", "bfk_test.key")
            made = AsyncClient(url, **arguments) if request.param == "async" else InThread(Client(url, **arguments))
            stack.push_async_callback(made.aclose)
            return made

        yield make


@pytest.fixture
def client(connect: Connect, service: Service) -> AsyncClient:
    return connect(service.url, api_key=service.key)


@pytest.fixture
def unique() -> str:
    """A tenant id of this test's own: the service is everybody's."""
    return f"t_{secrets.token_hex(6)}"


@pytest.fixture
async def script() -> AsyncIterator[Scripted]:
    async with scripted() as running:
        yield running


@pytest.fixture
async def line(service: Service) -> AsyncIterator[Proxy]:
    async with broken_line(service.url) as proxy:
        yield proxy
