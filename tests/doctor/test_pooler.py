"""PgBouncer in the way: what doctor says of it."""

import asyncpg

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
