"""Rules of backups: asked for in the caller's transaction, made by a worker."""

from typing import Any
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.backups import queries
from app.backups.errors import BackupNotFound, BackupUnavailable
from app.backups.model import Backup
from app.db.pages import cut
from app.db.pool import Connection
from app.errors import Problem
from app.operations import service as operations
from app.operations.executor import Work
from app.operations.model import Claim, Kind, Operation, Status
from app.operations.rules import OUTCOMES
from app.registry import service as registry
from app.registry.model import State
from app.registry.service import TenantStateForbids

# Where there is a schema, and nobody is about to drop it.
_STATES = (State.ACTIVE, State.SUSPENDED, State.DELETED)


async def require_possible(conn: Connection, *, configured: bool) -> None:
    """Raises BackupUnavailable, naming the mend, before anything is stored that could only fail."""
    if not configured:
        raise BackupUnavailable("There is nowhere to put a backup: set BF_BACKUP_URL, for the workers too.")
    reader = await queries.reader(conn)
    if not reader.granted:
        raise BackupUnavailable(f"Backups are read as {reader.role_name}. Run as a superuser: {reader.mend}")


async def request_backup(
    conn: Connection,
    tenant_id: str,
    *,
    operation_id: UUID,
    reason: str | None,
    origin: Origin,
    configured: bool = True,
    retry_of: UUID | None = None,
) -> Operation:
    """Raises TenantNotFound, TenantStateForbids, BackupUnavailable."""
    tenant = await registry.require(conn, tenant_id)
    if tenant.state not in _STATES:
        raise TenantStateForbids(
            f"Tenant {tenant.tenant_id} is {tenant.state}; there is nothing to back up.",
            state=tenant.state,
            allowed_states=sorted(_STATES),
        )
    await require_possible(conn, configured=configured)
    operation = await operations.request(
        conn,
        operation_id,
        Kind.TENANT_BACKUP,
        origin=origin,
        tenant_id=tenant.tenant_id,
        parameters={"reason": reason},
        retry_of=retry_of,
    )
    after = None if reason is None else {"reason": reason}
    await audit.record(
        conn, origin, action="tenant.backup", target=f"tenant/{tenant.tenant_id}", outcome="accepted", after=after
    )
    return operation


async def keep(conn: Connection, held: Claim, backup: Backup) -> None:
    """Raises ClaimLost or CancelRequested: a backup that nobody waits for any longer is none."""
    await operations.require_claim(conn, held)
    await queries.put(conn, backup)


async def ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    """Failed or cancelled: nothing of it is kept."""
    await _record(conn, operation, status, problem.as_json())


async def succeed(conn: Connection, work: Work, backup: Backup) -> None:
    """Keeps the backup and ends the operation. Raises ClaimLost or CancelRequested."""
    await keep(conn, work.claim, backup)
    archive = backup.archive
    result = {"backup_id": str(backup.id), "url": archive.url, "sha256": archive.sha256, "bytes": archive.size}
    await operations.succeed(conn, work.claim, result=result, steps=work.steps)
    await _record(conn, work.claim.operation, Status.SUCCEEDED, result)


async def again(conn: Connection, failed: Operation, new_id: UUID, origin: Origin) -> Operation:
    """Of the tenant as it is now."""
    return await request_backup(
        conn,
        failed.tenant_id or "",
        operation_id=new_id,
        reason=failed.parameters.get("reason"),
        origin=origin,
        retry_of=failed.id,
    )


async def _record(conn: Connection, operation: Operation, status: Status, after: dict[str, Any]) -> None:
    await audit.record(
        conn,
        operation.origin,
        action="tenant.backup",
        target=f"tenant/{operation.tenant_id}",
        outcome=OUTCOMES[status],
        after=after,
    )


async def require(conn: Connection, tenant_id: str, backup_id: UUID | None) -> Backup:
    """That backup of the tenant, or its latest. Raises BackupNotFound."""
    found = await (queries.latest(conn, tenant_id) if backup_id is None else queries.get(conn, tenant_id, backup_id))
    if found is None:
        raise BackupNotFound(f"There is no {'' if backup_id is None else 'such '}backup of tenant {tenant_id}.")
    return found


async def page(
    conn: Connection, tenant_id: str, *, after: tuple[str, str] | None, size: int
) -> tuple[list[Backup], tuple[str, str] | None]:
    """A page, the newest first, and where the next one starts. Raises TenantNotFound where nothing was ever of it."""
    found = await queries.page(conn, tenant_id, after=after, limit=size + 1)
    if not found and after is None:
        await registry.require(conn, tenant_id)  # a purged tenant's backups are listed, though it is gone
    return cut(found, size, lambda last: (last.created_at.isoformat(), str(last.id)))
