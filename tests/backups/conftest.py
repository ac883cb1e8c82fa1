"""An API with a worker that knows where to put backups, and one tenant with rows."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from app.settings import Settings
from tests.support import rows
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, settings_for


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def settings(dsn: str, tmp_path: Path, store: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", backup_url=str(store))


@pytest.fixture
async def tenant(conn: asyncpg.Connection, superuser: asyncpg.Connection) -> str:
    await make_tenant(conn)
    await rows.fill(superuser)
    return "acme_corp"


@pytest.fixture
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with running_api(settings, with_worker=True) as running:
        yield running
