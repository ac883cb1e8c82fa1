"""Worker composition root: registers handlers, runs until SIGTERM."""

import asyncio
import signal
from contextlib import suppress

from app.db.pool import Connection, Database
from app.db.pools import ddl_database
from app.db.readiness import Readiness
from app.errors import AppError, DatabaseError
from app.http import queries as idempotency
from app.jobs.runner import Runner
from app.kinds import RULES
from app.log import logger
from app.operations import queries as operation_queries
from app.operations import service as operations
from app.operations.executor import Executor, Handler
from app.operations.model import Kind
from app.schema import files, service, startup
from app.schema.expected import ExpectedTenants
from app.schema.handlers import DowngradeHandler, UpgradeHandler
from app.settings import Settings
from app.tenants.bulk_handler import ChangeHandler
from app.tenants.handlers import ProvisionHandler

_log = logger(__name__)
# How often, in seconds, unfinished operations without a job are looked for.
_SWEEP = 15.0


class Worker:
    """Runs jobs in whichever process asked for it."""

    def __init__(self, settings: Settings, database: Database, readiness: Readiness) -> None:
        self._settings = settings
        self._database = database
        self._readiness = readiness
        self._runner = Runner(database, self._executor(), concurrency=settings.worker_concurrency)

    def _executor(self) -> Executor:
        migrations, target = files.migrations(), files.target(self._settings)
        expected = ExpectedTenants(self._database, migrations)
        handlers: dict[str, Handler] = {
            Kind.SCHEMA_UPGRADE: UpgradeHandler(
                database=self._database, migrations=migrations, target=target, expected=expected
            ),
            Kind.SCHEMA_DOWNGRADE: DowngradeHandler(database=self._database, target=target, expected=expected),
            Kind.TENANTS_CHANGE: ChangeHandler(database=self._database),
            Kind.TENANT_PROVISION: ProvisionHandler(database=self._database, expected=expected, target=target),
        }

        async def explain(conn: Connection, error: DatabaseError) -> str:
            return await service.explain(conn, error, create_roles=self._settings.create_roles)

        return Executor(self._database, handlers, RULES, explain=explain)

    def stop(self) -> None:
        self._runner.stop()

    async def run(self) -> None:
        """Until stop(); what is unfinished after BF_DRAIN_TIMEOUT is left to another worker."""
        await self._readiness.wait_or(self._runner.stopping)
        if self._runner.stopping.is_set():
            return
        sweeping = asyncio.create_task(self._sweep(), name="sweep")
        try:
            await self._runner.run(drain_timeout=self._settings.drain_timeout)
        finally:
            sweeping.cancel()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def _sweep(self) -> None:
        """A job can be lost with its database (the queue drops what it could not mark): look for those."""
        while True:
            try:
                async with self._database.transaction() as conn:
                    found = await operations.requeue_lost(conn)
                    await idempotency.forget_old(conn)
                    await operation_queries.forget_old(conn)
                if found:
                    _log.warning("operations_requeued", count=found)
            except AppError as error:
                _log.warning("sweep_failed", reason=error.detail)
            await asyncio.sleep(_SWEEP)


async def run(settings: Settings) -> None:
    """The `worker` command: raises AppError where the start is hopeless."""
    database = ddl_database(settings, application_name="bf-admin worker")
    readiness = Readiness()
    async with database:
        worker = Worker(settings, database, readiness)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        migrations, target = files.migrations(), files.target(settings)
        preparing = asyncio.create_task(readiness.achieve(lambda: startup.prepare(database, migrations, target)))
        running = asyncio.create_task(worker.run())
        await asyncio.wait({preparing, running}, return_when=asyncio.FIRST_COMPLETED)
        if readiness.failure is not None:
            worker.stop()
        await running
        preparing.cancel()
    if readiness.failure is not None:
        raise readiness.failure
