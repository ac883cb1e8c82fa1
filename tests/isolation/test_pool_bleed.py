"""Many requests of many tenants over few connections, cut off at any moment: none meets what another has left."""

import asyncio
import os
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import pytest

from tests.support.cluster import Cluster
from tests.support.data import make_tenant
from tests.support.pgbouncer import PgBouncer

_FULL: Final = os.environ.get("BF_TEST_FULL") == "1"
_REQUESTS: Final = 100_000 if _FULL else 600
_TENANTS: Final = 50 if _FULL else 5
_AT_ONCE: Final = 20
_CONNECTIONS: Final = 5
# What a connection must not remember of whoever had it before.
_LEFT: Final = """
SELECT coalesce(current_setting('app.current_tenant', true), '') AS tenant,
       coalesce(current_setting('app.current_user_id', true), '') AS user_id,
       current_setting('role') AS role, current_setting('search_path') AS path
"""
_CLEAN: Final = ("", "", "none", '"$user", public')
_SEEN: Final = "SELECT DISTINCT tenant_id FROM budgets UNION SELECT tenant_id FROM tenant_config"
_WRITE: Final = """
INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
VALUES (gen_random_uuid()::text, 'b', 'annual', 2025, '2025-01-01', '2025-12-31') RETURNING tenant_id
"""
_MISPLACED: Final = "SELECT count(*) FROM bf_%s.budgets WHERE tenant_id <> '%s' OR created_by <> 'user_%s'"


class _RolledBack(Exception):
    pass


@dataclass(slots=True)
class _Load:
    """What the application's requests met."""

    pool: asyncpg.Pool
    tenants: list[str]
    random: random.Random
    wrong: list[object] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)

    async def work(self, requests: int) -> None:
        for _ in range(requests):
            cut = self.random.random() < 0.3
            request = asyncio.create_task(self._request(self.random.choice(self.tenants)))
            if cut:
                await asyncio.wait({request}, timeout=self.random.random() * 0.006)
                request.cancel()
            try:
                await request
                self.ends["done"] += 1
            except asyncio.CancelledError:
                self.ends["cancelled"] += 1
            except (_RolledBack, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                self.ends[type(error).__name__] += 1

    async def _request(self, tenant: str) -> None:
        """As the guide has an application do it."""
        async with self.pool.acquire() as conn, conn.transaction():
            if (left := tuple(await conn.fetchrow(_LEFT))) != _CLEAN:
                self.wrong.append(left)
            await conn.execute("SELECT bf_shared.set_tenant_context($1, $2)", tenant, f"user_{tenant}")
            if others := {row[0] for row in await conn.fetch(_SEEN)} - {tenant}:
                self.wrong.append((tenant, others))
            what = self.random.random()
            if what < 0.4 and (written := await conn.fetchval(_WRITE)) != tenant:
                self.wrong.append((tenant, written))
            if what < 0.1:
                raise _RolledBack
            if what < 0.2:
                await conn.execute("SELECT 1 / 0")
            if what < 0.3:
                await conn.execute("SET LOCAL search_path = bf_nobody")


@pytest.fixture
async def tenants(conn: asyncpg.Connection, superuser: asyncpg.Connection) -> list[str]:
    """Each with rows of its own."""
    made = [f"t{number}" for number in range(_TENANTS)]
    for tenant in made:
        await make_tenant(conn, tenant)
        async with superuser.transaction():
            await superuser.execute("SELECT bf_shared.set_tenant_context($1, $2)", tenant, f"user_{tenant}")
            await superuser.execute(_WRITE)
    return made


@pytest.fixture
async def login(cluster: Cluster, dsn: str, superuser: asyncpg.Connection) -> AsyncIterator[str]:
    """The DSN of an application."""
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    await superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE app_role")
    yield cluster.dsn(dsn.rpartition("/")[2], name, password)
    await superuser.execute(f"DROP ROLE {name}")


@pytest.fixture
def narrow(cluster: Cluster) -> Iterator[PgBouncer]:
    """Fewer servers than it has clients."""
    with PgBouncer(cluster, settings={"default_pool_size": str(_CONNECTIONS)}) as pooler:
        yield pooler


async def _bleed(dsn: str, tenants: list[str], superuser: asyncpg.Connection, *, connections: int) -> None:
    seed = int(os.environ.get("BF_TEST_SEED", secrets.randbits(32)))
    print(f"seed {seed}: set BF_TEST_SEED to replay it")  # noqa: T201
    cached = {} if connections == _CONNECTIONS else {"statement_cache_size": 0}
    async with asyncpg.create_pool(dsn, min_size=connections, max_size=connections, **cached) as pool:
        load = _Load(pool, tenants, random.Random(seed))  # noqa: S311
        await asyncio.gather(*[load.work(_REQUESTS // _AT_ONCE) for _ in range(_AT_ONCE)])
    print(dict(load.ends))  # noqa: T201
    assert load.wrong == []
    assert load.ends.total() == _REQUESTS
    assert min(load.ends["done"], load.ends["cancelled"], load.ends["DivisionByZeroError"]) > 0, load.ends
    for tenant in tenants:
        assert await superuser.fetchval(_MISPLACED % (tenant, tenant, tenant)) == 0


async def test_no_request_meets_what_another_left_on_its_connection(
    login: str, tenants: list[str], superuser: asyncpg.Connection
) -> None:
    await _bleed(login, tenants, superuser, connections=_CONNECTIONS)


async def test_nor_through_pgbouncer_in_transaction_mode(
    login: str, tenants: list[str], narrow: PgBouncer, superuser: asyncpg.Connection
) -> None:
    await _bleed(narrow.through(login), tenants, superuser, connections=_AT_ONCE)


async def test_what_an_application_leaves_behind_without_a_transaction_this_test_would_see(
    login: str, narrow: PgBouncer
) -> None:
    """SET without LOCAL stays with PgBouncer's server: why the context is to be set by its function alone."""
    first, second = [await asyncpg.connect(narrow.through(login), statement_cache_size=0) for _ in range(2)]
    pid = await first.fetchval("SELECT pg_backend_pid()")
    await first.execute("SET app.current_tenant = 't0'")
    assert await second.fetchval("SELECT pg_backend_pid()") == pid
    assert tuple(await second.fetchrow(_LEFT)) != _CLEAN
    for connection in (first, second):
        with suppress(asyncpg.PostgresError):
            await connection.close()
