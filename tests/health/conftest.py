"""An application that looks at its health as often as it is asked, with a worker and without."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.data import settings_for


@pytest.fixture
def quick(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", health_interval=0.05, db_pool_max=4)


@pytest.fixture
async def whole(quick: Settings) -> AsyncIterator[Api]:
    """With a worker."""
    async with running_api(quick, with_worker=True) as running:
        yield running


@pytest.fixture
async def alone(quick: Settings) -> AsyncIterator[Api]:
    async with running_api(quick, with_worker=False) as running:
        yield running
