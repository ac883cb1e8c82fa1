"""What wakes a worker: jobs while it has room, room that it has again, a retry that is due."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID, uuid4

from app.db.pool import Database
from app.jobs import queue
from app.jobs.runner import Deliver, RetryJob, Runner
from tests.support.polling import until

# Well below the two seconds after which a worker looks without being woken.
_SOON = 1.5

_LEFT = "SELECT count(*) FROM bf_queue.pgqueuer"


@asynccontextmanager
async def _running(database: Database, deliver: Deliver, *, concurrency: int) -> AsyncIterator[None]:
    """Listening when it is handed out: a job of its own has been delivered."""
    listening = asyncio.Event()
    first = uuid4()

    async def delivered(operation_id: UUID) -> None:
        if operation_id == first:
            listening.set()
        else:
            await deliver(operation_id)

    runner = Runner(database, delivered, concurrency=concurrency)
    running = asyncio.create_task(runner.run(drain_timeout=10))
    try:
        await _enqueue(database, first)
        await asyncio.wait_for(listening.wait(), 20)
        yield
    finally:
        runner.stop()
        await running


async def _enqueue(database: Database, *operation_ids: UUID) -> None:
    async with database.transaction() as conn:
        for operation_id in operation_ids:
            await queue.enqueue(conn, operation_id)


async def _empty(database: Database) -> None:
    async def look() -> bool:
        async with database.connection() as conn:
            return bool(await conn.fetchval(_LEFT) == 0)

    await until(look, what="an empty queue")


async def test_it_runs_so_many_at_once_and_takes_the_next_when_one_is_done(database: Database) -> None:
    wanted = {uuid4() for _ in range(8)}
    done: set[UUID] = set()
    at_once: list[int] = []
    working = 0

    async def deliver(operation_id: UUID) -> None:
        nonlocal working
        working += 1
        at_once.append(working)
        await asyncio.sleep(0.05)
        working -= 1
        done.add(operation_id)

    async with _running(database, deliver, concurrency=2):
        begun = time.monotonic()
        await _enqueue(database, *wanted)
        await _empty(database)
    assert done == wanted
    assert max(at_once) == 2
    # Looking only every two seconds, three more times, takes six.
    assert time.monotonic() - begun < 2 * _SOON


async def test_one_at_a_time_means_one(database: Database) -> None:
    working, most = 0, 0

    async def deliver(_: UUID) -> None:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await asyncio.sleep(0.02)
        working -= 1

    async with _running(database, deliver, concurrency=1):
        await _enqueue(database, *(uuid4() for _ in range(5)))
        await _empty(database)
    assert most == 1


async def test_a_retry_begins_when_it_is_due(database: Database) -> None:
    tries: list[float] = []

    async def deliver(_: UUID) -> None:
        tries.append(time.monotonic())
        if len(tries) < 4:
            raise RetryJob(timedelta(seconds=0.1), "once more")

    async with _running(database, deliver, concurrency=2):
        await _enqueue(database, uuid4())
        await _empty(database)
    assert len(tries) == 4
    # Polling alone would take six seconds.
    assert tries[-1] - tries[0] < 2 * _SOON


async def test_what_a_full_worker_leaves_another_takes(database: Database) -> None:
    release = asyncio.Event()
    taken: list[str] = []

    def deliver_as(name: str) -> Deliver:
        async def deliver(_: UUID) -> None:
            taken.append(name)
            if name == "full":
                await release.wait()

        return deliver

    async with _running(database, deliver_as("full"), concurrency=1):
        await _enqueue(database, uuid4())
        await until(lambda: _is(taken == ["full"]), what="one busy worker")
        async with _running(database, deliver_as("other"), concurrency=1):
            await _enqueue(database, uuid4(), uuid4())
            await until(lambda: _is(taken == ["full", "other", "other"]), what="the other one at work")
        release.set()
        await _empty(database)


async def _is(truth: bool) -> bool:
    return truth
