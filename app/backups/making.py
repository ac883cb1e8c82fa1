"""Making a backup of one tenant, and bringing it back: what is written is read again before it counts."""

import asyncio
import hashlib
import tempfile
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.backups import archive, programs, queries, tools
from app.backups.archive import Statement
from app.backups.errors import BackupFailed, RestoreFailed
from app.backups.model import Archive, Backup, Subject, TableSum
from app.backups.store import Store
from app.backups.tools import Tools
from app.db.pool import Connection, Database
from app.operations.executor import Work


@dataclass(frozen=True, slots=True, kw_only=True)
class Backups:
    """What a worker needs for them. `store` is None where none is configured; `dsn` is of a direct connection."""

    database: Database
    dsn: str
    store: Store | None
    pg_bin: Path | None

    async def make(self, work: Work) -> Backup:
        """Of the operation's tenant: a verified archive in the store; its row is for the caller to keep.

        Raises BackupFailed, naming the mend.
        """
        operation, steps = work.claim.operation, work.steps
        if self.store is None:
            raise BackupFailed(
                "There is nowhere to put a backup: set BF_BACKUP_URL for the workers, or waive the backup of a purge."
            )
        tenant_id = operation.tenant_id or ""
        url = self.store.place(tenant_id, operation.id, work.claim.token)
        with tempfile.TemporaryDirectory(prefix="bf-backup-") as directory:
            local = Path(directory) / "archive"
            with steps.step("dump"):
                subject, found = await self._dump(tenant_id, local)
            sha256, size = await asyncio.to_thread(_digest, local)
            with steps.step("verify"):
                _require_rows(subject, await archive.count(found, local))
            made = Backup(
                id=operation.id,
                subject=subject,
                archive=Archive(url=url, sha256=sha256, size=size, client_version=found.major),
                created_at=datetime.now(UTC),
                created_by=operation.actor,
                reason=operation.parameters.get("reason"),
            )
            with steps.step("upload"):
                await self.store.put(local, url, _manifest(made))
                if await self.store.fetch(url) != (sha256, size):
                    raise BackupFailed(f"{url} does not read as it was written.")
        return made

    async def _dump(self, tenant_id: str, local: Path) -> tuple[Subject, Tools]:
        """Rows are counted and summed up, and dumped, as of one moment."""
        async with self.database.connection() as conn, queries.snapshot(conn):
            subject = await queries.subject(conn, tenant_id)
            if subject is None:
                raise BackupFailed(f"Tenant {tenant_id} has no schema.")
            found = await tools.find(self.pg_bin, at_least=subject.server_version)
            reader = await queries.reader(conn)
            if not reader.granted:
                raise BackupFailed(f"Backups are read as {reader.role_name}. Run as a superuser: {reader.mend}")
            snapshot = await queries.export(conn)
            dumping = asyncio.create_task(self._pg_dump(found, subject, snapshot, reader.role_name, local))
            try:
                counted = await queries.sums(conn, subject.schema_name)
                while not (await asyncio.wait({dumping}, timeout=10))[0]:
                    await queries.stay(conn)
                await dumping
            finally:
                dumping.cancel()
                await asyncio.gather(dumping, return_exceptions=True)
        return replace(subject, tables=counted), found

    async def _pg_dump(self, found: Tools, subject: Subject, snapshot: str, role: str, local: Path) -> None:
        url, environment = programs.connection(self.dsn)
        command = [
            found.pg_dump, "--format=custom", "--encoding=UTF8", f"--schema={_pattern(subject.schema_name)}",
            "--strict-names", f"--role={role}", "--enable-row-security", f"--snapshot={snapshot}",
            "--lock-wait-timeout=5000", "--no-password", f"--dbname={url}",
        ]  # fmt: skip
        with local.open("wb") as file:
            async with aclosing(programs.output(command, environment=environment)) as pieces:
                async for piece in pieces:
                    file.write(piece)

    async def fetch(self, backup: Backup, local: Path) -> Tools:
        """The archive as it was written, and what reads it. Raises RestoreFailed or BackupFailed."""
        kept = backup.archive
        found = await tools.find(self.pg_bin, at_least=max(kept.client_version, backup.subject.server_version))
        if await (self.store or Store("")).fetch(kept.url, local) != (kept.sha256, kept.size):
            raise RestoreFailed(f"{kept.url} is not as it was written: its checksum is another.")
        return found


async def replay(conn: Connection, found: Tools, local: Path, subject: Subject) -> None:
    """Restores the schema in the caller's transaction, as the owner of everything.

    Raises RestoreFailed where the rows that are there afterwards are not those that were dumped.
    """
    await queries.prepare_restore(conn)
    tenant_role: str | None = None
    async with aclosing(archive.parts(found, local)) as parts:
        async for part in parts:
            if isinstance(part, Statement):
                text = part.text
                if archive.names_tenant_role(text, subject.tenant_id):
                    tenant_role = tenant_role or await queries.make_tenant_role(conn, subject.tenant_id)
                    text = archive.with_tenant_role(text, subject.tenant_id, tenant_role)
                await queries.execute(conn, text)
            else:
                await queries.copy(conn, part)
    if differing := different(subject.tables, await queries.sums(conn, subject.schema_name)):
        raise RestoreFailed(f"Restored rows are not those that were dumped: {', '.join(differing)}.")


def different(expected: dict[str, TableSum], found: dict[str, TableSum]) -> list[str]:
    """Names of the tables with other rows, or that only one of them has."""
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def _require_rows(subject: Subject, dumped: dict[str, int]) -> None:
    """pg_dump that may read nothing writes an archive without a row, and says that all went well."""
    expected = {name: table.rows for name, table in subject.tables.items()}
    wrong = sorted(name for name in expected.keys() | dumped.keys() if expected.get(name) != dumped.get(name))
    if wrong:
        told = ", ".join(f"{name} {dumped.get(name, 0)} of {expected.get(name, 0)}" for name in wrong)
        raise BackupFailed(f"The archive does not hold the rows of the tables: {told}.")


def _pattern(schema_name: str) -> str:
    """One schema, whatever its name."""
    return '"' + schema_name.replace('"', '""') + '"'


def _digest(local: Path) -> tuple[str, int]:
    with local.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), local.stat().st_size


def _manifest(backup: Backup) -> dict[str, Any]:
    subject, kept = backup.subject, backup.archive
    return {
        "id": str(backup.id),
        "tenant_id": subject.tenant_id,
        "generation": subject.generation,
        "schema_name": subject.schema_name,
        "schema_version": subject.schema_version,
        "server_version": subject.server_version,
        "client_version": kept.client_version,
        "created_at": backup.created_at.isoformat(),
        "created_by": backup.created_by,
        "reason": backup.reason,
        "sha256": kept.sha256,
        "bytes": kept.size,
        "tables": {name: {"rows": table.rows, "checksum": table.checksum} for name, table in subject.tables.items()},
        "records": subject.records,
    }
