"""An application whose worker may tell a receiver on this machine what happens."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.settings import Settings
from tests.integrations.support import KEY
from tests.support.data import settings_for
from tests.webhooks.support import Receiver, receiving


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(
        dsn,
        bootstrap_admin_key_file=tmp_path / "admin-key",
        secret_keys=KEY,
        integration_allow="127.0.0.0/8",
    )
