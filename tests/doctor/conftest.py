"""A cluster of its own for what ALTER SYSTEM breaks and mends, and a superuser beside the migration user."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

from tests.support import pooling
from tests.support.cluster import Cluster
from tests.support.processes import environment


@pytest.fixture(autouse=True)
def _straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands between doctor and its server is the subject here: each test says so itself."""
    monkeypatch.setattr(pooling, "_poolers", {})


@pytest.fixture
async def admin(cluster: Cluster, empty_dsn: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser in the empty database."""
    opened = await cluster.superuser(empty_dsn.rpartition("/")[2])
    yield opened
    await opened.close()


@pytest.fixture
def empty(empty_dsn: str) -> dict[str, str]:
    """The environment of a command at an empty database."""
    return environment(empty_dsn)


@pytest.fixture
def installed(dsn: str) -> dict[str, str]:
    """The environment of a command at a migrated one."""
    return environment(dsn)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster to restart and to reconfigure."""
    running = Cluster.start(tmp_path_factory.mktemp("own") / "data", settings={"fsync": "off"})
    try:
        yield running
    finally:
        running.stop()
