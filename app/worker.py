"""Worker composition root: registers handlers, runs until SIGTERM."""

import asyncio
import signal
from contextlib import suppress
from datetime import timedelta
from uuid import UUID

from app.allow import Allow
from app.audit.anchors import Anchors
from app.audit.sealer import Sealer
from app.backups.making import Backups
from app.backups.store import Store
from app.collect.collector import Collecting, Plan
from app.collect.history_queries import Retention
from app.collect.model import Collector
from app.db.pool import Connection, Database
from app.db.pools import collecting_database, ddl_database
from app.db.readiness import Readiness
from app.errors import AppError, DatabaseError
from app.health.keeper import Keeper
from app.http import queries as idempotency
from app.integrations.endpoint import Policy
from app.integrations.pinned import Pinned
from app.isolation import service as isolation
from app.jobs.runner import RetryJob, Runner
from app.kinds import RULES
from app.limits import queries as limit_queries
from app.log import logger
from app.metrics import queries as metrics
from app.operations import queries as operation_queries
from app.operations import service as operations
from app.operations.executor import Executor, Handler
from app.operations.model import Kind, Operation
from app.release import release
from app.schema import files, service, startup
from app.schema.expected import ExpectedTenants
from app.schema.handlers import DowngradeHandler, UpgradeHandler
from app.settings import Settings
from app.tenants import purge
from app.tenants.bulk_handler import change_handler, deletion_handler
from app.tenants.handlers import ProvisionHandler
from app.tenants.lifecycle_handlers import BackupHandler, PurgeHandler, RestoreHandler
from app.tenants.repair_handlers import FleetRepairHandler, FleetVerifyHandler, RepairHandler
from app.tracing import Tracing, of_environment
from app.webhooks.dispatcher import Dispatcher
from app.webhooks.sending import SECONDS, Sender

_log = logger(__name__)
# How often, in seconds, unfinished operations without a job are looked for.
_SWEEP = 15.0
# How often tenants are looked for that are to be purged.
_PURGE = 60.0
# How often it is asked whether the hourly look at isolation is due.
_ISOLATION = 60.0
# How often history is thinned.
_THIN = timedelta(minutes=10)


def executor(settings: Settings, database: Database, tracing: Tracing | None = None) -> Executor:
    """What does the work of every kind."""
    migrations, target = files.migrations(), files.target(settings)
    expected = ExpectedTenants(database, migrations)
    backups = Backups(
        database=database,
        dsn=settings.direct_dsn(),
        store=None if settings.backup_url is None else Store(settings.backup_url),
        pg_bin=settings.pg_bin,
    )
    handlers: dict[str, Handler] = {
        Kind.SCHEMA_UPGRADE: UpgradeHandler(database=database, migrations=migrations, target=target, expected=expected),
        Kind.SCHEMA_DOWNGRADE: DowngradeHandler(database=database, target=target, expected=expected),
        Kind.TENANTS_CHANGE: change_handler(database),
        Kind.TENANTS_DELETE: deletion_handler(database),
        Kind.TENANT_PROVISION: ProvisionHandler(database=database, expected=expected, target=target),
        Kind.TENANT_BACKUP: BackupHandler(database=database, backups=backups),
        Kind.TENANT_PURGE: PurgeHandler(database=database, backups=backups),
        Kind.TENANT_RESTORE: RestoreHandler(database=database, backups=backups, expected=expected),
        Kind.TENANT_REPAIR: RepairHandler(database=database, expected=expected),
        Kind.FLEET_VERIFY: FleetVerifyHandler(database=database, expected=expected),
        Kind.FLEET_REPAIR: FleetRepairHandler(database=database, expected=expected),
    }

    async def explain(conn: Connection, error: DatabaseError) -> str:
        return await service.explain(conn, error, create_roles=settings.create_roles)

    return Executor(database, handlers, RULES, explain=explain, tracing=tracing)


async def work_off(settings: Settings, database: Database, operation_id: UUID) -> Operation:
    """The operation, ended: by this process, unless a worker is quicker. Other jobs are left to workers."""
    run = executor(settings, database)

    async def deliver(found: UUID) -> None:
        if found != operation_id:
            raise RetryJob(timedelta(seconds=1))
        await run(found)

    runner = Runner(database, deliver, concurrency=1)
    running = asyncio.create_task(runner.run(drain_timeout=settings.drain_timeout))
    try:
        while True:
            async with database.connection() as conn:
                operation = await operations.require(conn, operation_id)
            if operation.status.terminal or running.done():
                return operation
            await asyncio.wait({running}, timeout=0.1)
    finally:
        runner.stop()
        await running


def dispatcher(settings: Settings, database: Database) -> Dispatcher:
    """What sends webhooks their events."""
    # More than may be under way: a name server that answers nobody holds up those alone whose name it has.
    pinned = Pinned(Policy(Allow.parse(settings.integration_allow)), threads=80)
    return Dispatcher(
        database,
        settings.direct_dsn(),
        Sender(pinned, source=settings.event_source),
        settings.keyring(),
        retention=settings.event_retention,
    )


def collecting_plan(settings: Settings) -> Plan:
    """What is collected, how often, and how long it is kept. Nothing at all where BF_COLLECT_INTERVAL is 0."""
    tenants = timedelta(seconds=settings.collect_tenants_interval)
    every = {
        Collector.FLEET: timedelta(seconds=settings.collect_interval),
        Collector.TENANTS: tenants,
        Collector.STATEMENTS: tenants,
        Collector.HISTORY: _THIN,
    }
    return Plan(
        every={name: interval for name, interval in every.items() if interval and settings.collect_interval},
        retention=Retention(minutes=settings.history_minutes, hours=settings.history_hours, days=settings.history_days),
        disk=settings.disk_path,
    )


class Worker:
    """Runs jobs in whichever process asked for it."""

    def __init__(
        self, settings: Settings, database: Database, readiness: Readiness, tracing: Tracing | None = None
    ) -> None:
        self._settings = settings
        self._tracing = tracing
        self._database = database
        self._readiness = readiness
        self._runner = Runner(database, self._executor(), concurrency=settings.worker_concurrency)
        self._dispatcher = dispatcher(settings, database)
        self._keeper = Keeper(database, release=release())
        self._sealer = Sealer(
            database,
            anchoring=Anchors.of(settings),
            anchor_every=settings.audit_anchor_interval,
            retention=settings.audit_retention,
        )

    def _executor(self) -> Executor:
        return executor(self._settings, self._database, self._tracing)

    def stop(self) -> None:
        self._runner.stop()

    async def run(self) -> None:
        """Until stop(); what is unfinished after BF_DRAIN_TIMEOUT is left to another worker."""
        await self._readiness.wait_or(self._runner.stopping)
        if self._runner.stopping.is_set():
            return
        beside = [
            asyncio.create_task(self._sweep(), name="sweep"),
            asyncio.create_task(self._purge(), name="purge"),
            asyncio.create_task(self._isolation(), name="isolation"),
            asyncio.create_task(self._sealer.run(), name="sealer"),
            asyncio.create_task(self._keeper.run(), name="keeper"),
            asyncio.create_task(self._collect(), name="collector"),
        ]
        telling = asyncio.create_task(self._dispatcher.run(self._runner.stopping), name="webhooks")
        try:
            await self._runner.run(drain_timeout=self._settings.drain_timeout)
            # It has had as long to end what it was sending: seconds at most.
            await asyncio.wait({telling}, timeout=SECONDS)
        finally:
            for task in (*beside, telling):
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await self._keeper.leave()

    async def _sweep(self) -> None:
        """A job can be lost with its database (the queue drops what it could not mark): look for those."""
        while True:
            try:
                async with self._database.transaction() as conn:
                    found = await operations.requeue_lost(conn)
                    await idempotency.forget_old(conn)
                    await operation_queries.forget_old(conn)
                    await limit_queries.forget_old(conn, self._settings.event_retention)
                    await metrics.add_up(conn)
                if found:
                    _log.warning("operations_requeued", count=found)
            except AppError as error:
                _log.warning("sweep_failed", reason=error.detail)
            await asyncio.sleep(_SWEEP)

    async def _purge(self) -> None:
        """Asks for the purge of tenants whose grace period is over."""
        while True:
            try:
                asked = await purge.purge_due(self._database)
                if asked:
                    _log.info("purges_due", count=asked)
            except AppError as error:
                _log.warning("purge_failed", reason=error.detail)
            await asyncio.sleep(_PURGE)

    async def _collect(self) -> None:
        """Looks at the database and at every tenant's tables, whenever that is due and no other worker does."""
        async with collecting_database(self._settings) as database:
            await Collecting(database, collecting_plan(self._settings)).run()

    async def _isolation(self) -> None:
        """Looks hourly whether tenants are held apart: one worker does. What it finds is in the log, and in health."""
        while True:
            await asyncio.sleep(_ISOLATION)
            try:
                await isolation.check_due(self._database, files.target(self._settings))
            except AppError as error:
                _log.warning("isolation_check_failed", reason=error.detail)


async def run(settings: Settings) -> None:
    """The `worker` command: raises AppError where the start is hopeless."""
    tracing = of_environment()
    database = ddl_database(settings, application_name="bf-admin worker", tracing=tracing)
    readiness = Readiness()
    async with database:
        worker = Worker(settings, database, readiness, tracing)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        migrations, target = files.migrations(), files.target(settings)

        async def prepare() -> None:
            await startup.prepare(database, migrations, target)
            await isolation.require(database, target, allow_unsafe=settings.allow_unsafe)

        preparing = asyncio.create_task(readiness.achieve(prepare))
        running = asyncio.create_task(worker.run())
        await asyncio.wait({preparing, running}, return_when=asyncio.FIRST_COMPLETED)
        if readiness.failure is not None:
            worker.stop()
        await running
        preparing.cancel()
        if tracing is not None:
            await tracing.stop()
    if readiness.failure is not None:
        raise readiness.failure
