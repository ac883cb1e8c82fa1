"""GET /health: what it costs, whom it tells, and what it says while the database is away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Target
from app.settings import Settings
from tests.health.asking import becomes, health, judge_by
from tests.support import tls
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.data import settings_for

# Seconds within which an answer comes whatever the database does: to ask who calls, and then how it is.
_BOUND = 5.0
_ASKED = """
SELECT max(query_start) FROM pg_stat_activity
 WHERE application_name = 'bf-admin api health' AND datname = current_database()
"""


async def test_many_who_ask_at_once_are_told_of_one_look(idle_api: Api) -> None:
    summary = idle_api.services.summary
    first = await summary.get()
    summary._kept = None
    told = await asyncio.gather(*(summary.get() for _ in range(50)))
    assert len({kept.body for kept in told}) == 1
    assert told[0].body != first.body


async def test_between_two_looks_the_database_is_asked_nothing(idle_api: Api, superuser: asyncpg.Connection) -> None:
    """As long as nobody polls after that, nothing is asked either."""
    idle_api.services.summary._interval = 60.0
    await idle_api.services.summary._look()
    first = await idle_api.client.get("/health")
    asked = await superuser.fetchval(_ASKED)
    assert asked is not None
    again = [await idle_api.client.get("/health") for _ in range(20)]
    assert {answer.content for answer in again} == {first.content}
    known = await idle_api.client.get("/health", headers={"If-None-Match": first.headers["etag"]})
    # Without a worker it fails, which is always told in full.
    assert (known.status_code, known.content) == (503, first.content)
    assert await superuser.fetchval(_ASKED) == asked


async def test_who_knows_the_answer_is_told_that_it_is_the_same(whole: Api) -> None:
    judge_by(whole, latency_ms=(10_000.0, 20_000.0))
    await becomes(whole, "workers", "pass")
    whole.services.summary._interval = 60.0
    for _ in range(2):  # the second is of a look with the long interval
        await asyncio.sleep(0.2)
        await health(whole)
    await asyncio.sleep(0.5)
    known = await whole.client.get("/health")
    assert known.status_code == 200
    tag = known.headers["etag"]
    for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = await whole.client.get("/health", headers={"If-None-Match": given})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    assert (await whole.client.get("/health", headers={"If-None-Match": '"other"'})).status_code == 200
    assert (await whole.client.get("/health", headers={"If-None-Match": "no tag"})).status_code == 400
    assert (await whole.client.get("/health?detail=1")).status_code == 422


async def test_its_shape_is_that_of_the_draft(alone: Api) -> None:
    told = await health(alone)
    assert told.keys() == {"status", "releaseId", "checks"}
    for name, check in told["checks"].items():
        assert {"status", "observed", "reason"} <= check.keys(), name
        assert check.keys() <= {"status", "observed", "reason", "observedUnit", "time", "links"}, name
        assert None not in [check[key] for key in ("observedUnit", "time", "links") if key in check], name


async def test_viewers_may_and_callers_of_one_tenant_may_not(alone: Api) -> None:
    viewer = await alone.key(Role.VIEWER)
    own = await alone.key(Role.VIEWER, tenant_id="acme_corp")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(alone.app), base_url="http://test") as stranger:
        assert (await stranger.get("/health", headers={"X-API-Key": viewer})).status_code == 503
        assert (await stranger.get("/health", headers={"X-API-Key": own})).status_code == 403
        assert (await stranger.get("/health")).status_code == 401


# while the database is away --------------------------------------------------------------------------


@pytest.fixture
async def private(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """A cluster that may be stopped, with TLS: nobody else is in it."""
    directory = tmp_path_factory.mktemp("private") / "data"
    settings = {"fsync": "off", "max_connections": "40"}
    cluster = await asyncio.to_thread(Cluster.start, directory, settings=settings, binaries=tls.binaries())
    yield cluster
    await asyncio.to_thread(cluster.stop)


async def _database(private: Cluster) -> str:
    dsn = await private.create_database("bf")
    async with ddl_database(settings_for(dsn), application_name="tests") as database:
        await upgrade.run(database, files.migrations(), Target())
    return dsn


async def _fails_in_time(api: Api) -> None:
    begun = asyncio.get_running_loop().time()
    told = await health(api)
    assert asyncio.get_running_loop().time() - begun < _BOUND
    assert (told["status"], told["checks"]["database"]["status"]) == ("fail", "fail")
    assert "bf-admin doctor" in told["checks"]["database"]["reason"]


async def test_a_database_that_is_away_stuck_or_certified_for_too_short(private: Cluster, tmp_path: Path) -> None:
    dsn = f"{await _database(private)}?sslmode=prefer"
    direct = {"DATABASE_URL": dsn, "log_level": "WARNING", "collect_interval": 0}  # no pooler, which has no TLS
    settings = Settings.model_validate(
        {**direct, "bootstrap_admin_key_file": tmp_path / "key", "health_interval": 0.05}
    )
    async with running_api(settings, with_worker=False) as api:
        await becomes(api, "database", "pass")

        await asyncio.to_thread(private.stop_immediate)
        await becomes(api, "database", "fail")
        await _fails_in_time(api)
        assert (await api.client.get("/livez")).status_code == 200
        await asyncio.to_thread(private.start_again)
        await becomes(api, "database", "pass")

        # It is there, and does not answer: who calls may be known yet, or not any more.
        postmaster = int((private.server.data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        stopped = [*_children(postmaster), postmaster]
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            await becomes(api, "database", "fail")
            await _fails_in_time(api)
            api.services.known_keys._forget_all()
            await _fails_in_time(api)
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
        await becomes(api, "database", "pass")

        await _certificates(private, api)


async def _certificates(private: Cluster, api: Api) -> None:
    assert "certificate" not in (await health(api))["checks"], "without TLS there is none"
    admin = await private.superuser("postgres")
    tls.certify(private, days=2)
    await admin.execute("ALTER SYSTEM SET ssl = on")
    await admin.execute("SELECT pg_reload_conf()")
    await api.services.summary._database.renew()
    short = await becomes(api, "certificate", "fail")
    assert (short["observed"], short["observedUnit"]) == (1, "days")
    tls.certify(private, days=365)
    await admin.execute("SELECT pg_reload_conf()")
    await becomes(api, "certificate", "pass")
    await admin.close()


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_the_verdict_is_the_worst_of_its_checks(whole: Api) -> None:
    judge_by(whole, latency_ms=(0.00001, 10_000.0))
    await becomes(whole, "workers", "pass")
    await becomes(whole, "latency", "warn")
    assert (await health(whole))["status"] == "warn"
    judge_by(whole, latency_ms=(0.00001, 0.0001))
    await becomes(whole, "latency", "fail")
    assert (await health(whole))["status"] == "fail"
