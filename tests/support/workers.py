"""A worker in this process that need not be waited for: it takes over from a dead one after two seconds."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from app.db.readiness import Readiness
from app.jobs.runner import Runner
from app.settings import Settings
from app.worker import Worker, ddl_database

_HEARTBEAT_TIMEOUT = timedelta(seconds=2)


@asynccontextmanager
async def impatient_worker(settings: Settings) -> AsyncIterator[None]:
    """Never beside a worker with the usual ten seconds, whose heart would beat too slowly for this one."""
    async with ddl_database(settings, application_name="tests worker") as database:
        executor = Worker(settings, database, Readiness())._executor()
        runner = Runner(database, executor, concurrency=8, heartbeat_timeout=_HEARTBEAT_TIMEOUT)
        running = asyncio.create_task(runner.run(drain_timeout=10))
        try:
            yield
        finally:
            runner.stop()
            await running
