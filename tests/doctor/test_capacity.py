"""Doctor on what a server has room for: limits that only a restart changes."""

import asyncpg
import pytest

from app.db.embedded import EmbeddedServer
from tests.doctor.support import check, login, mended
from tests.support.cluster import Cluster, binaries_under_test
from tests.support.processes import environment


async def _set(own: Cluster, statement: str) -> None:
    admin = await own.superuser("postgres")
    await admin.execute(statement)
    await admin.close()
    own.restart()


@pytest.mark.parametrize(("each", "status"), [(10, "warn"), (2, "fail")])
async def test_a_lock_table_for_too_few(own: Cluster, each: int, status: str) -> None:
    """Ten a transaction is the least that PostgreSQL takes: for less, there are fewer connections."""
    env = environment(await own.create_database(), BF_WORKER_CONCURRENCY="4")
    await _set(own, f"ALTER SYSTEM SET max_connections = {100 * each // 10 + 10}")
    await _set(own, "ALTER SYSTEM SET max_locks_per_transaction = 10")
    finding = await check("lock_table", env, status)
    await _set(own, finding["mend"])
    await check("lock_table", env, "pass")
    await _set(own, "ALTER SYSTEM RESET ALL")


async def test_too_few_connections(own: Cluster) -> None:
    env = {**environment(await own.create_database()), "BF_DB_POOL_MAX": "100"}
    finding = await check("connections", env, "warn")
    assert "up to 116" in finding["observed"]
    await _set(own, finding["mend"])
    await check("connections", env, "pass")
    await _set(own, "ALTER SYSTEM RESET ALL")


async def test_a_limit_of_the_role_or_of_the_database(cluster: Cluster, admin: asyncpg.Connection) -> None:
    async with login(admin, cluster) as (name, dsn):
        database = await admin.fetchval("SELECT current_database()")
        await admin.execute(f"ALTER ROLE {name} CONNECTION LIMIT 5; ALTER DATABASE {database} CONNECTION LIMIT 20")
        finding = await mended("connections", environment(dsn), "warn", admin)
        assert f"role {name} 5, database {database} 20" in finding["observed"]


@pytest.mark.parametrize("sees_all", [False, True])
async def test_pg_stat_statements_that_is_not_preloaded(own: Cluster, sees_all: bool) -> None:
    """What libraries there are already is shown to members of pg_read_all_settings only, and is kept."""
    name = (await own.create_database()).rpartition("/")[2]
    other = EmbeddedServer(
        own.server.data_dir,
        binaries=binaries_under_test(),
        settings={"fsync": "off", "shared_preload_libraries": "auto_explain"},
    )
    own.server.stop()
    other.start()
    admin = await asyncpg.connect(other.url(user="postgres", password=other.superuser_password, database=name))
    await admin.execute(f"{'GRANT' if sees_all else 'REVOKE'} pg_monitor {'TO' if sees_all else 'FROM'} bf_migrator")
    env = environment(other.url(user="bf_migrator", password=own.migration_password, database=name))
    finding = await check("pg_stat_statements", env, "warn")
    assert ("'auto_explain', 'pg_stat_statements'" in finding["mend"]) == sees_all
    assert ("SHOW shared_preload_libraries;" in finding["mend"]) != sees_all
    for statement in finding["mend"].splitlines():
        await admin.execute(statement)
    # The server under test takes this setting on its command line, which ALTER SYSTEM does not reach.
    wanted = await admin.fetchval("SELECT setting FROM pg_file_settings WHERE name = 'shared_preload_libraries'")
    await admin.execute("ALTER SYSTEM RESET ALL")
    await admin.close()
    other.stop()
    mended_server = EmbeddedServer(
        own.server.data_dir,
        binaries=binaries_under_test(),
        settings={"fsync": "off", "shared_preload_libraries": wanted},
    )
    mended_server.start()
    own.server.port = mended_server.port
    await check(
        "pg_stat_statements",
        environment(mended_server.url(user="bf_migrator", password=own.migration_password, database=name)),
        "pass",
    )
