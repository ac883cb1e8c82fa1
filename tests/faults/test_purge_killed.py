"""kill -9 of a worker in the middle of a purge and of a restore: the tenant is whole or gone, never half of it."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.db.pool import Database
from app.settings import Settings
from tests.support import oracle, rows
from tests.support.api import Api
from tests.support.data import make_tenant, schemas, settings_for
from tests.support.plans import confirmed
from tests.support.polling import waiting_for_locks
from tests.support.processes import environment, logged
from tests.support.workers import impatient_worker

_PATH = "/v1/tenants/acme_corp"
_DUMPING = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bf-admin backup'"


@pytest.fixture
def settings(dsn: str, tmp_path: Path) -> Settings:
    return settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key", backup_url=str(tmp_path / "backups"))


@pytest.fixture
async def before(conn: asyncpg.Connection, superuser: asyncpg.Connection, database: Database) -> Any:
    """What the rows of a tenant that was deleted sum up to."""
    await make_tenant(conn)
    await rows.fill(superuser)
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp', 'left')")
    return await rows.sums(database)


@asynccontextmanager
async def _killed(settings: Settings, tmp_path: Path) -> AsyncIterator[None]:
    """A worker, while the block looks for its moment; then it is killed."""
    env = environment(settings.direct_dsn(), BF_BACKUP_URL=str(settings.backup_url))
    async with logged("worker", env=env, log=tmp_path / "worker.log") as worker:
        yield
        worker.send_signal(signal.SIGKILL)
        assert await worker.wait() == -signal.SIGKILL


async def _asked(api: Api, what: str) -> str:
    path = f"{_PATH}/{what}"
    answer = await (confirmed(api.client, path) if what == "purge" else api.client.post(path))
    assert answer.status_code == 202, answer.text
    return f"/v1/operations/{answer.json()['id']}"


async def _taken_over(api: Api, settings: Settings, conn: asyncpg.Connection, operation: str) -> dict[str, Any]:
    async with impatient_worker(settings):
        await oracle.settled(conn)
    ended: dict[str, Any] = (await api.client.get(operation)).json()
    assert (ended["status"], ended["attempts"] >= 2) == ("succeeded", True), ended
    await oracle.assert_clean(settings.direct_dsn())
    return ended


async def test_a_worker_killed_while_it_dumps(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, before: Any,
    database: Database, tmp_path: Path,
) -> None:  # fmt: skip
    """pg_dump does not outlive it for long: its locks would stand in the way of the next worker's drop."""
    operation = await _asked(idle_api, "purge")
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_acme_corp.budgets IN ACCESS EXCLUSIVE MODE")
        async with _killed(settings, tmp_path):
            await waiting_for_locks(conn, 2, within=90)
            assert await conn.fetchval(_DUMPING) == 1
    assert await rows.sums(database) == before
    await _taken_over(idle_api, settings, conn, operation)
    assert "bf_acme_corp" not in await schemas(conn)


async def test_a_worker_killed_while_it_drops(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, before: Any,
    database: Database, tmp_path: Path,
) -> None:  # fmt: skip
    """Between a backup that has committed and the drop that has not."""
    operation = await _asked(idle_api, "purge")
    async with superuser.transaction():
        # The backup may read them; the drop, which is behind its tables by then, deletes from them.
        await superuser.execute("LOCK TABLE bf_shared.budget_templates IN EXCLUSIVE MODE")
        async with _killed(settings, tmp_path):
            await waiting_for_locks(conn, within=90)
            assert await conn.fetchval("SELECT count(*) FROM bf_control.backup") == 1
    assert "bf_acme_corp" in await schemas(conn)
    assert await rows.sums(database) == before
    ended = await _taken_over(idle_api, settings, conn, operation)
    assert "bf_acme_corp" not in await schemas(conn)
    assert ended["result"]["backup_id"] == ended["id"]


async def test_a_worker_killed_while_it_restores(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, before: Any,
    database: Database, tmp_path: Path,
) -> None:  # fmt: skip
    """The schema is there for nobody else yet, and the configuration is being written."""
    await _asked(idle_api, "purge")
    async with impatient_worker(settings):
        await oracle.settled(conn)
    operation = await _asked(idle_api, "restore")
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_shared.tenant_config IN EXCLUSIVE MODE")
        async with _killed(settings, tmp_path):
            await waiting_for_locks(conn, within=90)
    assert "bf_acme_corp" not in await schemas(conn)
    assert (await idle_api.client.get(_PATH)).json()["state"] == "provisioning"
    await _taken_over(idle_api, settings, conn, operation)
    assert await rows.sums(database) == before
    assert (await idle_api.client.get(_PATH)).json()["state"] == "active"
