"""PgBouncer in the way: what doctor says of it."""

import asyncpg
import pytest

from tests.doctor.support import check, examine, shell
from tests.support.cluster import Cluster
from tests.support.pgbouncer import PgBouncer


async def test_the_pooler_of_the_tests_is_one(cluster: Cluster, dsn: str) -> None:
    with PgBouncer(cluster) as pooler:
        console = await asyncpg.connect(pooler.through(cluster.superuser_dsn("pgbouncer")), statement_cache_size=0)
        assert console.get_server_version().major == 1
        await console.close()
        through = await asyncpg.connect(pooler.through(dsn), statement_cache_size=0)
        assert await through.fetchval("SELECT inet_server_port()") == cluster.server.port
        await through.close()


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "transaction"),
        ({"default_pool_size": "1"}, "transaction"),
        ({"server_round_robin": "1", "min_pool_size": "4"}, "transaction"),
        ({"pool_mode": "session"}, "session"),
        ({"pool_mode": "session", "ignore_startup_parameters": "lock_timeout"}, "session"),
        ({"pool_mode": "session", "default_pool_size": "1"}, "session"),
    ],
)
async def test_a_pooler_before_everything(
    cluster: Cluster, installed: dict[str, str], settings: dict[str, str], kind: str
) -> None:
    with PgBouncer(cluster, settings=settings) as pooler:
        env = {**installed, "DATABASE_URL": pooler.through(installed["DATABASE_URL"])}
        finding = await check("pooler", env, "fail")
        assert finding["observed"] == f"DATABASE_URL: a pooler, by {kind}"
        mended = shell(finding["mend"], env)
        assert mended["BF_DIRECT_DATABASE_URL"] == installed["DATABASE_URL"]
        checks = await examine(mended)
        assert checks["pooler"]["status"] == "pass"
        assert checks["application_connection"]["observed"] == f"DATABASE_URL: a pooler, by {kind}"


async def test_a_pooler_on_the_direct_url(cluster: Cluster, installed: dict[str, str]) -> None:
    url = installed["DATABASE_URL"]
    with PgBouncer(cluster) as pooler:
        env = {**installed, "DATABASE_URL": pooler.through(url), "BF_DIRECT_DATABASE_URL": pooler.through(url)}
        finding = await check("pooler", env, "fail")
        assert finding["observed"] == "BF_DIRECT_DATABASE_URL: a pooler, by transaction"
        await check("pooler", shell(finding["mend"], env), "pass")


async def test_a_pooler_in_use_is_found_too(cluster: Cluster, installed: dict[str, str]) -> None:
    """Other clients hold its connections, and let go of them, all the time."""
    with PgBouncer(cluster) as pooler:
        url = pooler.through(installed["DATABASE_URL"])
        others = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(4)]
        transactions = [other.transaction() for other in others[:2]]
        for transaction in transactions:
            await transaction.start()
        await others[0].execute("SELECT 1")
        for _ in range(3):
            finding = await check("pooler", {**installed, "DATABASE_URL": url}, "fail")
            assert finding["observed"].endswith("by transaction")
            await others[2].execute("SELECT 1")
        for transaction in transactions:
            await transaction.rollback()
        for other in others:
            await other.close()


async def test_a_server_alone_is_no_pooler(installed: dict[str, str]) -> None:
    finding = await check("pooler", installed, "pass")
    assert finding["observed"] == "DATABASE_URL: straight to the server"
