"""Sums of ended operations: nothing is lost or counted twice, whoever adds up, and no counter goes back."""

import asyncio
import os

import asyncpg
import pytest

from app.db.pool import Database
from app.metrics import queries
from app.operations.model import Kind
from app.settings import Settings
from tests.support.api import running_api
from tests.support.polling import until

_EACH = 2000 if os.environ.get("BF_TEST_FULL") == "1" else 150
_END = "INSERT INTO bf_control.operation_end (kind, outcome, seconds) VALUES ($1, $2, $3)"
_OPERATION = """
INSERT INTO bf_control.operation (kind, actor, status, started_at)
VALUES ($1, 'tests', 'running', now() - interval '2 s') RETURNING id
"""
_FINISH = "UPDATE bf_control.operation SET status = 'succeeded', finished_at = now() WHERE id = $1"


async def _count(database: Database) -> int:
    async with database.connection() as conn:
        return sum(ended.count for ended in (await queries.work(conn)).ended)


async def test_no_reader_sees_less_than_before_and_none_is_lost(database: Database) -> None:
    """Two that end operations, two that add them up, one that reads: all at once, until the first two are done."""
    writing, seen = 2, [0]

    async def end(kind: str) -> None:
        nonlocal writing
        for number in range(_EACH):
            async with database.transaction() as conn:
                await conn.execute(_END, kind, "succeeded", number / 100)
        writing -= 1

    async def add_up() -> None:
        while writing:
            async with database.transaction() as conn:
                await queries.add_up(conn)
            await asyncio.sleep(0.005)

    async def read() -> None:
        while writing:
            seen.append(await _count(database))

    await asyncio.gather(end("tenant.provision"), end("tenant.purge"), add_up(), add_up(), read())
    assert seen == sorted(seen)
    assert await _count(database) == 2 * _EACH
    async with database.transaction() as conn:
        await queries.add_up(conn)
        assert await conn.fetchval("SELECT count(*) FROM bf_control.operation_end") == 0
    assert await _count(database) == 2 * _EACH


async def test_whoever_ends_an_operation_it_is_counted_once(database: Database, conn: asyncpg.Connection) -> None:
    """A worker of the release before too, which knows nothing of sums; what follows the end changes nothing."""
    ended = await conn.fetchval(_OPERATION, Kind.TENANT_BACKUP)
    await conn.execute(_OPERATION.replace("'running'", "'queued'"), Kind.TENANT_BACKUP)
    await conn.execute(_FINISH, ended)
    await conn.execute("UPDATE bf_control.operation SET result = '{}' WHERE id = $1", ended)
    assert await _count(database) == 1
    async with database.connection() as reading:
        (one,) = (await queries.work(reading)).ended
    assert (one.kind, one.outcome) == ("tenant.backup", "succeeded")
    assert 2 <= one.seconds < 3
    assert (one.cumulative[4], one.cumulative[5]) == (0, 1), "more than 1 s, and at most 2.5"


async def test_forgotten_operations_stay_counted(database: Database, conn: asyncpg.Connection) -> None:
    await conn.execute(_FINISH, await conn.fetchval(_OPERATION, Kind.TENANT_BACKUP))
    async with database.transaction() as adding:
        await queries.add_up(adding)
    await conn.execute("DELETE FROM bf_control.operation")
    assert await _count(database) == 1


async def test_workers_add_them_up(
    settings: Settings, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.worker._SWEEP", 0.1)
    async with running_api(settings, with_worker=True) as api:
        assert (await api.provision()).status_code == 201

        async def added() -> bool:
            left = await conn.fetchval("SELECT count(*) FROM bf_control.operation_end")
            return left == 0 and await conn.fetchval("SELECT sum(operations) FROM bf_control.operation_total") == 1

        await until(added, what="the sum")
