"""Each check of /health is turned red by its fault, and green again by what mends it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.collect.model import Collector
from app.db.pools import ddl_database
from app.db.readiness import Readiness
from app.health import excess
from app.health.keeper import Keeper
from app.isolation import service as isolation
from app.schema.script import Target
from app.settings import Settings
from app.worker import Worker
from tests.health.asking import becomes, health, judge_by
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import ended, insisting
from tests.support.rows import fill

_COLLECTED = """
INSERT INTO bf_control.collection (collector, started_at, ended_at, succeeded_at, duration_ms)
SELECT c, now(), now(), now(), 1 FROM unnest(ARRAY['fleet', 'tenants']) AS c
    ON CONFLICT (collector) DO UPDATE SET succeeded_at = now(), error = NULL
"""
# A byte more than 2 MiB, as a collector saw it.
_LARGE = """
INSERT INTO bf_control.schema_snapshot
    (tenant_id, taken_at, measured_at, total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows, dead_rows,
     table_count, index_count, invalid_indexes, unused_indexes, missing_tables, missing_indexes, open_tables)
VALUES ('globex', now(), now(), 2097153, 0, 0, 0, 0, 0, 6, 20, 0, 0, '{}', '{}', '{}')
"""
_LATE = {Collector.FLEET: timedelta(minutes=10), Collector.TENANTS: timedelta(hours=1)}
# As a collector leaves it of a server that is well.
_FLEET = """
INSERT INTO bf_control.fleet_snapshot AS s
SELECT f.* FROM jsonb_populate_record(NULL::bf_control.fleet_snapshot, $1) AS f
"""
_WELL: dict[str, Any] = {
    "grain": "minute", "database_bytes": 10**8, "transaction_age": 100, "multixact_age": 1, "freeze_max_age": 2 * 10**8,
    "connections": 5, "max_connections": 100, "locks_used": 1, "locks_limit": 6400, "lock_waits": [], "standbys": [],
    "catalogue": [{"name": "pg_attribute", "bytes": 10**7, "live_rows": 50_000, "dead_rows": 10}], "tenants": [],
    "disk_bytes": 10**11, "disk_free_bytes": 5 * 10**10,
}  # fmt: skip


@asynccontextmanager
async def _working(settings: Settings) -> AsyncIterator[Worker]:
    """A worker of its own, until the block ends."""
    async with ddl_database(settings, application_name="bf-admin worker") as database:
        readiness = Readiness()
        await readiness.achieve(_nothing)
        worker = Worker(settings, database, readiness)
        running = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await running


async def _nothing() -> None:
    """There is nothing to wait for."""


async def test_a_service_that_is_well_passes(whole: Api, conn: asyncpg.Connection) -> None:
    judge_by(whole, latency_ms=(10_000.0, 20_000.0), collection_age=_LATE)  # however busy the machine is
    assert (await insisting(whole.provision)).status_code == 201
    await conn.execute(_COLLECTED)
    for check in ("workers", "collection", "isolation"):
        await becomes(whole, check, "pass")
    told = await health(whole)
    assert {name: check for name, check in told["checks"].items() if check["status"] != "pass"} == {}
    assert told["status"] == "pass"
    assert told["checks"].keys() >= {
        "database", "latency", "pool", "workers", "queue_depth", "oldest_job", "collection", "migrations",
        "tenants_behind", "tenants_failed", "tenants_over_limit", "tenants_drifted", "isolation", "api_keys",
        "lock_table", "transaction_ids",
    }  # fmt: skip


# work ------------------------------------------------------------------------------------------------


async def test_without_a_worker_it_fails_until_there_is_one(alone: Api, quick: Settings) -> None:
    failing = await becomes(alone, "workers", "fail")
    assert (failing["observed"], "bf-admin worker" in failing["reason"]) == (0, True)
    async with _working(quick):
        assert (await becomes(alone, "workers", "pass"))["observed"] == 1
    assert (await becomes(alone, "workers", "fail"))["observed"] == 0, "one that ends in order is gone at once"


async def test_a_worker_that_ended_without_a_word_is_missed(alone: Api, conn: asyncpg.Connection) -> None:
    lost, living = (Keeper(alone.database, release="0") for _ in range(2))
    beating = asyncio.create_task(lost.run())
    assert (await becomes(alone, "workers", "pass"))["observed"] == 1
    beating.cancel()
    await conn.execute("UPDATE bf_control.worker SET heartbeat_at = now() - interval '21 seconds'")
    await becomes(alone, "workers", "fail")
    beating = asyncio.create_task(living.run())
    told = await becomes(alone, "workers", "warn")
    assert (told["observed"], "1 ended without a word" in told["reason"]) == (1, True)
    await conn.execute(
        "UPDATE bf_control.worker SET heartbeat_at = now() - interval '11 minutes' "
        "WHERE heartbeat_at < now() - interval '20 seconds'"
    )
    await becomes(alone, "workers", "pass")
    beating.cancel()
    await living.leave()
    await becomes(alone, "workers", "fail")


async def test_work_that_nobody_does_piles_up(alone: Api, quick: Settings) -> None:
    judge_by(alone, queue_depth=2, oldest_job=(timedelta(milliseconds=10), timedelta(seconds=1)))
    await becomes(alone, "queue_depth", "pass")
    for number in range(2):
        await alone.client.post("/v1/tenants", json={"tenant_id": f"t{number}", "tenant_name": "T"})
    assert (await becomes(alone, "queue_depth", "warn"))["observed"] == 2
    waiting = await becomes(alone, "oldest_job", "fail")
    assert (waiting["observed"] >= 1, waiting["observedUnit"]) == (True, "s")
    async with _working(quick):
        assert (await becomes(alone, "oldest_job", "pass"))["observed"] == 0
        assert (await becomes(alone, "queue_depth", "pass"))["observed"] == 0


# the database, and the way to it ---------------------------------------------------------------------


async def test_a_pool_without_a_free_connection(alone: Api) -> None:
    await becomes(alone, "pool", "pass")
    async with AsyncExitStack() as held:
        for _ in range(4):
            await held.enter_async_context(alone.database.connection())
        full = await becomes(alone, "pool", "fail")
        assert (full["observed"], full["observedUnit"]) == (100, "percent")
        assert "BF_DB_POOL_MAX" in full["reason"]
        alone.services.known_keys._forget_all()
        unknown = (await health(alone))["checks"]
        assert "see pool" in unknown["database"]["reason"], "who cannot be asked for gets the reason, and no more"
        assert unknown.keys() == {"database", "pool"}
    await becomes(alone, "pool", "pass")
    assert (await health(alone))["checks"]["database"]["status"] == "pass"


async def test_a_database_that_is_slow(alone: Api) -> None:
    judge_by(alone, latency_ms=(0.0001, 10_000.0))
    assert (await becomes(alone, "latency", "warn"))["observedUnit"] == "ms"
    judge_by(alone, latency_ms=(10_000.0, 20_000.0))
    await becomes(alone, "latency", "pass")


async def test_a_lock_table_that_fills_up(alone: Api, conn: asyncpg.Connection) -> None:
    await becomes(alone, "lock_table", "pass")
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(n) FROM generate_series(1, 3600) AS n")
        full = await becomes(alone, "lock_table", "warn")
        assert full["observed"] > 50
    await becomes(alone, "lock_table", "pass")


async def test_transaction_ids_that_nobody_freezes(alone: Api, superuser: asyncpg.Connection) -> None:
    age = (await becomes(alone, "transaction_ids", "pass"))["observed"]
    judge_by(alone, transaction_ids=(age + 200, age + 10_000))
    await superuser.execute("DO $$ BEGIN FOR n IN 1 .. 250 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$")
    assert "VACUUM (FREEZE)" in (await becomes(alone, "transaction_ids", "warn"))["reason"]
    await superuser.execute("VACUUM (FREEZE)")
    judge_by(alone, transaction_ids=(age, age + 10_000))
    await becomes(alone, "transaction_ids", "pass")


# tenants ---------------------------------------------------------------------------------------------


async def test_a_tenant_that_could_not_be_made(alone: Api, quick: Settings) -> None:
    accepted = await insisting(lambda: alone.client.put("/v1/tenants/acme_corp", json={"tenant_name": "ACME"}))
    await alone.client.post(f"{accepted.headers['operation-location']}/cancel")
    failed = await becomes(alone, "tenants_failed", "warn")
    assert (failed["observed"], failed["links"]) == (1, {"related": "/v1/tenants?state=failed"})
    assert "acme_corp" in failed["reason"]
    listed = (await alone.client.get(failed["links"]["related"])).json()["items"]
    assert [tenant["tenant_id"] for tenant in listed] == ["acme_corp"]
    async with _working(quick):
        again = await alone.client.put(
            "/v1/tenants/acme_corp", json={"tenant_name": "ACME"}, headers={"Prefer": "wait=20"}
        )
        assert again.status_code in {200, 201}, again.text
    await becomes(alone, "tenants_failed", "pass")


async def test_tenants_and_migrations_that_wait_for_an_upgrade(alone: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await becomes(alone, "tenants_behind", "pass")
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    assert "acme_corp" in (await becomes(alone, "tenants_behind", "warn"))["reason"]
    await conn.execute(
        "UPDATE bf_control.tenant SET schema_version = "
        "(SELECT max(version) FROM bf_control.migration m WHERE m.layer = 'tenant')"
    )
    await becomes(alone, "tenants_behind", "pass")
    await becomes(alone, "migrations", "pass")
    newest = "layer = 'shared' AND version = (SELECT max(version) FROM bf_control.migration WHERE layer = 'shared')"
    row = await conn.fetchrow(f"DELETE FROM bf_control.migration WHERE {newest} RETURNING version, name, checksum")  # noqa: S608
    assert (await becomes(alone, "migrations", "warn"))["observed"] == 1
    put_back = "INSERT INTO bf_control.migration (layer, version, name, checksum) VALUES ('shared', $1, $2, $3)"
    await conn.execute(put_back, *row)
    await becomes(alone, "migrations", "pass")
    await conn.execute(put_back, 999, "to_come", "0" * 64)
    assert "newer" in (await becomes(alone, "migrations", "warn"))["reason"]


async def test_a_tenant_that_uses_more_than_it_may(
    alone: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await make_tenant(conn, "globex")
    await fill(superuser, rows=5)
    assert await excess.look(alone.database) == 0
    await alone.client.patch("/v1/tenants/acme_corp/limits", json={"max_budgets": 4, "max_budget_lines": 1})
    assert await excess.look(alone.database) == 2
    over = await becomes(alone, "tenants_over_limit", "warn")
    assert (over["observed"], "(acme_corp)" in over["reason"]) == (1, True)
    await alone.client.patch("/v1/tenants/acme_corp/limits", json={"max_budgets": 5, "max_budget_lines": None})
    assert await excess.look(alone.database) == 0
    await becomes(alone, "tenants_over_limit", "pass")
    await conn.execute(_LARGE)
    await alone.client.patch("/v1/tenants/globex/limits", json={"storage_mb": 2})
    assert await excess.look(alone.database) == 1
    assert "(globex)" in (await becomes(alone, "tenants_over_limit", "warn"))["reason"]
    await conn.execute("SELECT bf_shared.delete_tenant('globex', 'tests')")
    assert await excess.look(alone.database) == 0, "it uses what it used"
    await becomes(alone, "tenants_over_limit", "pass")


async def test_a_tenant_that_is_not_as_it_was_made(whole: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status")
    await _verified(whole)
    assert "acme_corp" in (await becomes(whole, "tenants_drifted", "warn"))["reason"]
    repairing = await whole.client.post("/v1/tenants/acme_corp/repair")
    await ended(whole.client, repairing.headers["operation-location"])
    await becomes(whole, "tenants_drifted", "pass")


async def _verified(api: Api) -> None:
    """The whole fleet: the verification of one tenant leaves no trace."""
    verifying = await insisting(lambda: api.client.post("/v1/schema/verify"))
    assert verifying.status_code == 202, verifying.text
    await ended(api.client, verifying.headers["operation-location"])


async def test_a_tenant_that_is_not_held_apart(alone: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await isolation.check(alone.database, Target())
    await becomes(alone, "isolation", "pass")
    await conn.execute("ALTER TABLE bf_acme_corp.budgets NO FORCE ROW LEVEL SECURITY")
    await isolation.check(alone.database, Target())
    assert (await becomes(alone, "isolation", "fail"))["links"] == {"related": "/v1/isolation"}
    await conn.execute("ALTER TABLE bf_acme_corp.budgets FORCE ROW LEVEL SECURITY")
    await isolation.check(alone.database, Target())
    await becomes(alone, "isolation", "pass")
    await conn.execute("UPDATE bf_control.isolation_check SET checked_at = now() - interval '4 hours'")
    assert "bf-admin isolation check" in (await becomes(alone, "isolation", "warn"))["reason"]


# keys and certificates -------------------------------------------------------------------------------


async def test_an_api_key_that_is_about_to_expire(alone: Api, conn: asyncpg.Connection) -> None:
    await becomes(alone, "api_keys", "pass")
    body = {"name": "ci", "role": Role.VIEWER}
    created = await alone.client.post("/v1/api-keys", json=body)
    assert created.status_code == 201, created.text
    await becomes(alone, "api_keys", "pass")
    await conn.execute("UPDATE bf_control.api_key SET expires_at = now() + interval '13 days' WHERE name = 'ci'")
    assert (await becomes(alone, "api_keys", "warn"))["observed"] == 1
    path = f"/v1/api-keys/{created.json()['id']}"
    rotated = await alone.client.post(f"{path}/rotate", json={"overlap_seconds": 3600})
    assert rotated.status_code == 201, rotated.text
    await conn.execute("UPDATE bf_control.api_key SET expires_at = NULL WHERE id = $1", rotated.json()["id"])
    await becomes(alone, "api_keys", "pass")


# what collectors see ---------------------------------------------------------------------------------


async def test_a_collection_that_is_late_or_fails(alone: Api, conn: asyncpg.Connection) -> None:
    assert "collection" not in (await health(alone))["checks"], "BF_COLLECT_INTERVAL is 0: nobody is missed"
    judge_by(alone, collection_age=_LATE)
    assert "not made yet" in (await becomes(alone, "collection", "warn"))["reason"]
    await conn.execute(_COLLECTED)
    await becomes(alone, "collection", "pass")
    await conn.execute(
        "UPDATE bf_control.collection SET succeeded_at = now() - interval '2 hours' WHERE collector = 'tenants'"
    )
    late = await becomes(alone, "collection", "warn")
    assert (late["observed"] >= 7200, "late: tenants" in late["reason"]) == (True, True)
    await conn.execute(_COLLECTED)
    await becomes(alone, "collection", "pass")
    await conn.execute("UPDATE bf_control.collection SET error = 'no room' WHERE collector = 'fleet'")
    assert "fleet (no room)" in (await becomes(alone, "collection", "warn"))["reason"]
    await conn.execute(_COLLECTED)
    await becomes(alone, "collection", "pass")


_STANDBY = {"name": "two", "state": "streaming", "sync_state": "async", "lag_bytes": 10, "lag_seconds": 0.1}


@pytest.mark.parametrize(
    ("check", "fault", "status"),
    [
        ("connections", {"connections": 81}, "warn"),
        ("connections", {"connections": 97}, "fail"),
        ("disk", {"disk_free_bytes": 19 * 10**9}, "warn"),
        ("disk", {"disk_free_bytes": 10**9}, "fail"),
        ("catalogue_bloat", {"catalogue": [{**_WELL["catalogue"][0], "dead_rows": 60_000}]}, "warn"),
        ("replication", {"standbys": [{**_STANDBY, "lag_seconds": 31.0}, _STANDBY]}, "warn"),
        ("replication", {"standbys": [_STANDBY, {**_STANDBY, "lag_seconds": 301.0}]}, "fail"),
        ("replication", {"standbys": [dict.fromkeys(_STANDBY) | {"name": "two"}]}, "warn"),
    ],
)
async def test_what_collectors_see_of_the_server(
    alone: Api, conn: asyncpg.Connection, check: str, fault: dict[str, Any], status: str
) -> None:
    await _snapshot(conn, fault)
    assert (await becomes(alone, check, status))["time"]
    await _snapshot(conn, {"standbys": [_STANDBY]})
    await becomes(alone, check, "pass")
    await _snapshot(conn, {"disk_bytes": None, "disk_free_bytes": None})
    await asyncio.sleep(0.2)
    assert {"replication", "disk"}.isdisjoint((await _settled(alone))["checks"]), "where there is none, none is told of"


async def _snapshot(conn: asyncpg.Connection, seen: dict[str, Any]) -> None:
    now = await conn.fetchval("SELECT clock_timestamp()::text")
    await conn.execute(_FLEET, json.dumps({**_WELL, **seen, "taken_at": now}))


async def _settled(api: Api) -> dict[str, Any]:
    """After what was kept has gone."""
    for _ in range(4):
        told = await health(api)
        await asyncio.sleep(0.1)
    return told


def _stranger(api: Api) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://test")


async def test_a_stranger_is_told_nothing(alone: Api) -> None:
    async with _stranger(alone) as stranger:
        assert (await stranger.get("/health")).status_code == 401
        wrong = await stranger.get("/health", headers={"X-API-Key": "bfk_0000000000000000.AAAA"})
        assert wrong.status_code == 401
