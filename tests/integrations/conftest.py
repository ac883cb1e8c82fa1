"""An application that may keep secrets, and endpoints on this machine."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.settings import Settings
from tests.integrations.support import KEY
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, settings_for


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", secret_keys=KEY)


@pytest.fixture
async def keyless_api(dsn: str, tmp_path: Path) -> AsyncIterator[Api]:
    """The application without BF_SECRET_KEYS."""
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key")
    async with running_api(settings, with_worker=False) as running:
        yield running


@pytest.fixture
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
