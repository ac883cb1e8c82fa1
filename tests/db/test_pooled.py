"""Requests by way of a real PgBouncer in transaction mode, which has a server for us only now and then."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from pydantic import SecretStr

from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.cluster import Cluster
from tests.support.pgbouncer import PgBouncer
from tests.support.polling import all_at_once, insisting
from tests.support.problems import problem
from tests.support.processes import bf_admin, environment

_CREATE: Any = {"url": "/v1/tenants", "json": {"tenant_id": "acme_corp", "tenant_name": "ACME"}}

# But for what PgBouncer itself hands on from client to server.
_CHANGED = """
SELECT name, setting FROM pg_settings
 WHERE source = 'session' AND setting <> boot_val AND name NOT IN ('application_name', 'client_encoding')
"""


@pytest.fixture
def narrow(cluster: Cluster) -> Iterator[PgBouncer]:
    """With one server connection: whoever has it keeps the others waiting."""
    with PgBouncer(cluster, settings={"default_pool_size": "1"}) as pooler:
        yield pooler


@pytest.fixture
def through(narrow: PgBouncer, dsn: str, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "DATABASE_URL": SecretStr(narrow.through(dsn)),
            "direct_database_url": SecretStr(dsn),
            "bootstrap_admin_key_file": tmp_path / "admin-key",
            "log_level": "WARNING",
        }
    )


@pytest.fixture
async def pooled_api(through: Settings) -> AsyncIterator[Api]:
    async with running_api(through, with_worker=True) as running:
        yield running


@pytest.fixture
async def neighbour(through: Settings) -> AsyncIterator[asyncpg.Connection]:
    """Another client of the same pooler."""
    opened = await asyncpg.connect(through.dsn(), statement_cache_size=0)
    yield opened
    await opened.close()


async def test_many_requests_share_one_server_and_leave_it_as_it_was(
    pooled_api: Api, neighbour: asyncpg.Connection
) -> None:
    server = await neighbour.fetchval("SELECT pg_backend_pid()")
    assert (await pooled_api.provision()).status_code == 201
    read, made = await asyncio.gather(
        all_at_once(partial(pooled_api.client.get, "/v1/tenants/acme_corp"), 20),
        asyncio.gather(*(insisting(partial(pooled_api.provision, f"tenant_{number}")) for number in range(4))),
    )
    assert [answer.status_code for answer in (*read, *made)] == [200] * 20 + [201] * 4
    assert await neighbour.fetchval("SELECT pg_backend_pid()") == server
    assert await neighbour.fetch(_CHANGED) == []


async def test_with_every_server_of_the_pooler_busy_the_answer_is_503_within_two_seconds(
    pooled_api: Api, neighbour: asyncpg.Connection
) -> None:
    async with neighbour.transaction():
        begun = asyncio.get_running_loop().time()
        responses = await asyncio.gather(
            pooled_api.client.get("/v1/tenants"), pooled_api.client.post(**_CREATE), pooled_api.client.get("/v1/schema")
        )
        assert asyncio.get_running_loop().time() - begun < 2
        for response in responses:
            problem(response, 503, "unavailable")
    assert (await pooled_api.client.post(**_CREATE)).status_code == 202


async def test_a_request_waits_for_a_lock_no_longer_than_without_the_pooler(
    pooled_api: Api, superuser: asyncpg.Connection
) -> None:
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_control.tenant IN ACCESS EXCLUSIVE MODE")
        for request in (pooled_api.client.get("/v1/tenants"), pooled_api.client.post(**_CREATE)):
            begun = asyncio.get_running_loop().time()
            problem(await request, 503, "database_busy")
            assert 1.5 < asyncio.get_running_loop().time() - begun < 4
    assert (await pooled_api.client.post(**_CREATE)).status_code == 202


@pytest.mark.parametrize("arguments", [("upgrade",), ("serve", "--port", "1"), ("worker",)])
async def test_without_a_direct_way_the_process_ends_and_says_which_variable_mends_it(
    narrow: PgBouncer, dsn: str, arguments: tuple[str, ...]
) -> None:
    """Waiting would never help."""
    env = {**environment(dsn), "DATABASE_URL": narrow.through(dsn)}
    env.pop("BF_DIRECT_DATABASE_URL", None)
    ended = await bf_admin(*arguments, env=env)
    assert ended.code == 1
    assert "Set BF_DIRECT_DATABASE_URL to PostgreSQL itself" in ended.stderr
