"""The jobs behind POST /v1/tenants/{id}/backups, /purge, and /restore of a purged tenant."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from app.backups import service as backups
from app.backups.making import Backups
from app.db.pool import Database
from app.operations.executor import Reporter, Work
from app.operations.model import Progress
from app.operations.rules import Rules
from app.schema import service as schema
from app.schema.expected import ExpectedTenants
from app.tenants import purge, restoring


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupHandler:
    database: Database
    backups: Backups

    async def run(self, work: Work) -> None:
        made = await self.backups.make(work)
        async with self.database.transaction() as conn:
            await backups.succeed(conn, work, made)


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeHandler:
    """Two items: the backup, which commits by itself, and the drop. Between them it can be cancelled."""

    database: Database
    backups: Backups

    async def run(self, work: Work) -> None:
        made = None
        if not work.claim.operation.parameters.get("waive_backup"):
            made = await self.backups.make(work)
            async with self.database.transaction() as conn:
                await backups.keep(conn, work.claim, made)
            await Reporter(database=self.database, work=work)(Progress(done=1, total=2))
            work.steps.progress = Progress(done=2, total=2)
        async with self.database.transaction() as conn:
            await purge.drop(conn, work.claim, made, steps=work.steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreHandler:
    database: Database
    backups: Backups
    expected: ExpectedTenants

    async def run(self, work: Work) -> None:
        operation = work.claim.operation
        async with self.database.connection() as conn:
            version = await schema.require_shared(conn)
            backup = await backups.require(conn, operation.tenant_id or "", UUID(operation.parameters["backup_id"]))
        await self.expected.prepare(version)
        with tempfile.TemporaryDirectory(prefix="bf-restore-") as directory:
            local = Path(directory) / "archive"
            with work.steps.step("fetch"):
                found = await self.backups.fetch(backup, local)
            async with self.database.transaction() as conn:
                await restoring.restore(
                    conn, work.claim, backup, self.expected, found=found, local=local, steps=work.steps
                )


BACKUP_RULES = Rules(ended=backups.ended, again=backups.again)
PURGE_RULES = Rules(ended=purge.purge_ended, again=purge.purge_again)
RESTORE_RULES = Rules(ended=restoring.restore_ended, again=restoring.restore_again)
