"""kill -9 of the worker that is telling somebody: another tells it again, under the same id, and none is lost."""

import signal
from pathlib import Path

import asyncpg

from app.settings import Settings
from tests.integrations.support import KEY
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import until
from tests.support.processes import environment, logged
from tests.webhooks.support import Answer, Receiver, make

_STATES = "SELECT status, attempts FROM bf_control.webhook_delivery"
# What the lease would do in its own time, which is longer than a test.
_LET_GO = "UPDATE bf_control.webhook_delivery SET due_at = now()"


async def test_what_a_killed_worker_was_telling_is_told_again_by_another(
    idle_api: Api, settings: Settings, receiver: Receiver, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    await make_tenant(conn)
    await make(idle_api, receiver)
    receiver.answers[:] = [Answer(after=3), Answer()]
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    env = environment(settings.direct_dsn(), BF_SECRET_KEYS=KEY, BF_INTEGRATION_ALLOW="127.0.0.0/8")
    async with logged("worker", env=env, log=tmp_path / "killed.log") as worker:
        await receiver.received(1, within=60)
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    assert [tuple(row) for row in await conn.fetch(_STATES)] == [("pending", 1)]
    await conn.execute(_LET_GO)
    async with logged("worker", env=env, log=tmp_path / "second.log"):

        async def told() -> bool:
            return [tuple(row) for row in await conn.fetch(_STATES)] == [("delivered", 2)]

        await until(told, within=60, what="the event to be told")
    first, second = receiver.messages
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.event is not None
    assert first.body == second.body
