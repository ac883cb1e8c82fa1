"""/livez and /readyz."""

import asyncpg

from tests.support.api import Api


async def _ready(api: Api) -> tuple[int, dict[str, str | None]]:
    """The status, and what is not well."""
    answer = await api.client.get("/readyz", headers={"Authorization": ""})
    checks = answer.json()["checks"]
    return answer.status_code, {n: check["reason"] for n, check in checks.items() if check["status"] != "pass"}


async def test_ready_says_what_it_looked_at(idle_api: Api, conn: asyncpg.Connection) -> None:
    answer = await idle_api.client.get("/readyz")
    assert answer.status_code == 200
    checks = answer.json()["checks"]
    assert list(checks) == ["startup", "database", "schema", "queue", "isolation"]
    newest = await conn.fetchval("SELECT max(version) FROM bf_control.migration WHERE layer = 'control'")
    assert checks["schema"]["observed"] == newest


async def test_a_process_that_was_told_to_stop_is_ready_no_more_and_lives(idle_api: Api) -> None:
    assert await _ready(idle_api) == (200, {})
    idle_api.services.release()
    assert await _ready(idle_api) == (503, {"startup": "draining"})
    assert (await idle_api.client.get("/livez")).status_code == 200
    assert (await idle_api.client.get("/v1/tenants")).status_code == 200, "what comes all the same is answered"


async def test_a_schema_that_somebody_took_back(idle_api: Api, conn: asyncpg.Connection) -> None:
    """A newer one than this process knows serves it: docs/living-upgrades.md."""
    put = "INSERT INTO bf_control.migration (layer, version, name, checksum) VALUES ('control', 9999, 'to_come', $1)"
    await conn.execute(put, "0" * 64)
    assert await _ready(idle_api) == (200, {})
    await conn.execute("DELETE FROM bf_control.migration WHERE layer = 'control' AND version > 3")
    assert await _ready(idle_api) == (503, {"schema": "schema_outdated"})


async def test_a_queue_that_is_gone(idle_api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute("ALTER TABLE bf_queue.pgqueuer RENAME TO elsewhere")
    assert await _ready(idle_api) == (503, {"queue": "queue_unreachable"})
    await conn.execute("ALTER TABLE bf_queue.elsewhere RENAME TO pgqueuer")
    assert await _ready(idle_api) == (200, {})


async def test_no_schema_at_all(idle_api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute("ALTER SCHEMA bf_control RENAME TO elsewhere")
    assert await _ready(idle_api) == (503, {"database": "schema_not_installed"})
    told = await idle_api.client.get("/health")
    assert told.status_code == 503
    await conn.execute("ALTER SCHEMA elsewhere RENAME TO bf_control")
