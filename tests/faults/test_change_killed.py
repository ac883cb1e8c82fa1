"""kill -9 of a worker in the middle of a change of many tenants: each is changed once, and by whom is one audit row."""

import signal
from pathlib import Path

import asyncpg

from app.settings import Settings
from tests.support import oracle
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import ended, waiting_for_locks
from tests.support.processes import environment, logged
from tests.support.workers import impatient_worker

_FLEET = [f"many_{n}" for n in range(5)]
_TIERS = "SELECT tenant_id, subscription_tier FROM bf_control.tenant"
_VERSIONS = """
SELECT tenant_id, count(*) FROM bf_control.tenant_config_history
 WHERE after->>'subscription_tier' = 'premium' GROUP BY tenant_id
"""
_AUDITED = "SELECT count(*) FROM bf_control.audit WHERE target LIKE 'tenant/%' AND action = 'tenant.change'"


async def test_what_a_killed_worker_has_changed_is_not_changed_again(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    for tenant_id in _FLEET:
        await make_tenant(conn, tenant_id)
    audited = await conn.fetchval(_AUDITED)
    answer = await idle_api.client.patch("/v1/tenants", json={"subscription_tier": "premium"}, params={"all": "true"})
    assert answer.status_code == 202, answer.text
    change = answer.headers["operation-location"]
    async with superuser.transaction():
        await superuser.execute("SELECT FROM bf_control.tenant WHERE tenant_id = 'many_2' FOR UPDATE")
        async with logged("worker", env=environment(settings.direct_dsn()), log=tmp_path / "worker.log") as worker:
            await waiting_for_locks(conn)
            worker.send_signal(signal.SIGKILL)
            await worker.wait()
        left = (await idle_api.client.get(change)).json()
        assert (left["status"], left["progress"]["total"]) == ("running", 5)
        assert left["progress"]["done"] <= 2  # it is told now and then, not of each tenant
        premium = {tenant_id for tenant_id, tier in await conn.fetch(_TIERS) if tier == "premium"}
        assert premium == {"many_0", "many_1"}
    async with impatient_worker(settings):
        operation = await ended(idle_api.client, change)
        await oracle.settled(conn)
    assert (operation["status"], operation["attempts"]) == ("succeeded", 2)
    assert operation["result"] == {"changed": 5, "unchanged": 0, "refused": 0}
    assert dict(await conn.fetch(_VERSIONS)) == dict.fromkeys(_FLEET, 1)
    assert await conn.fetchval(_AUDITED) - audited == len(_FLEET)
    await oracle.assert_clean(settings.direct_dsn())
