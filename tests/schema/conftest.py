"""A second cluster: the first one's template database keeps our roles in use."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.schema.support import Site
from tests.support.cluster import Cluster


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
