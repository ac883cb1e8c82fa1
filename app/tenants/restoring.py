"""Bringing a purged tenant back from a backup: its id is reserved, then one transaction does all of it."""

from pathlib import Path
from typing import Any
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.audit.queries import Outcome
from app.backups import making
from app.backups import queries as backup_queries
from app.backups import service as backups
from app.backups.errors import BackupNotFound, RestoreFailed, SchemaInTheWay
from app.backups.model import Backup
from app.backups.tools import Tools
from app.db.pool import Connection
from app.errors import Problem
from app.limits import usage
from app.operations import service as operations
from app.operations.model import Claim, Kind, Operation, Status
from app.operations.rules import OUTCOMES
from app.operations.service import Steps
from app.registry import queries as registry
from app.registry.model import Tenant, TenantId
from app.registry.service import TenantNotFound
from app.schema import queries as schema_queries
from app.schema import service as schema
from app.schema.expected import ExpectedTenants
from app.tenants import lifecycle
from app.tenants.service import TenantExists


async def request_restore(
    conn: Connection,
    tenant_id: TenantId,
    backup_id: UUID | None,
    *,
    operation_id: UUID,
    reason: str | None,
    origin: Origin,
    retry_of: UUID | None = None,
) -> Operation:
    """Stores operation, job, audit row, and the registry row that keeps others from the id.

    By default of the latest backup. Raises TenantExists, TenantNotFound where nothing was ever of it, BackupNotFound,
    SchemaInTheWay, SchemaNotInstalled, SchemaBusy, Invalid.
    """
    await schema.require_accepting(conn)
    await lifecycle.require_no_credentials(conn, reason)
    try:
        backup = await backups.require(conn, tenant_id, backup_id)
    except BackupNotFound:
        if backup_id is None and await registry.get(conn, tenant_id) is None:
            raise TenantNotFound from None
        raise
    operation = await operations.request(
        conn,
        operation_id,
        Kind.TENANT_RESTORE,
        origin=origin,
        tenant_id=tenant_id,
        parameters={"backup_id": str(backup.id), "reason": reason},
        retry_of=retry_of,
    )
    if not await registry.reserve(conn, backup.subject.records["tenant"], operation.id, actor=origin.actor):
        raise TenantExists(f"Tenant {tenant_id} exists; only where none has the id a backup can be restored.")
    if await backup_queries.occupied(conn, backup.subject.schema_name):
        raise SchemaInTheWay(f"Schema {backup.subject.schema_name} exists, and belongs to no tenant: rename it.")
    after = {"backup_id": str(backup.id)} | ({} if reason is None else {"reason": reason})
    await _record(conn, origin, tenant_id, "accepted", after)
    return operation


async def restore(
    conn: Connection,
    claim: Claim,
    backup: Backup,
    expected: ExpectedTenants,
    *,
    found: Tools,
    local: Path,
    steps: Steps,
) -> Tenant:
    """The schema with its rows, all else of the tenant, and the operation's end, in the caller's one transaction.

    Needs expected.prepare() of the latest version. Raises ClaimLost or CancelRequested, RestoreFailed,
    CatalogueMismatch, DatabaseError. Whatever it raises, all of it rolls back.
    """
    await operations.require_claim(conn, claim)
    operation, subject = claim.operation, backup.subject
    version = await schema.require_shared(conn)
    if subject.schema_version > version:
        raise RestoreFailed(
            f"The backup is of schema version {subject.schema_version}, this database has {version}: upgrade it first."
        )
    with steps.step("restore"):
        await making.replay(conn, found, local, subject)
        await backup_queries.restore_records(conn, backup, operation.id)
        # As the setting is now: it may have been another when the backup was made.
        await schema_queries.keep_tenant_role(conn, subject.tenant_id)
    with steps.step("upgrade"):
        # Compares the catalogue too; what somebody had added to it was theirs, and is back.
        version = await schema.upgrade_tenant(conn, expected, subject.tenant_id)
    tenant = await registry.restored(
        conn, TenantId(subject.tenant_id), reason=operation.parameters.get("reason"), actor=operation.actor
    )
    with steps.step("count"):
        # What is counted of a tenant's rows, rather than kept with them: no trigger was there when they came.
        await usage.recount(conn, tenant, origin=operation.origin)
    result = {"tenant_id": subject.tenant_id, "schema_version": version, "backup_id": str(backup.id)}
    await operations.succeed(conn, claim, result=result, steps=steps)
    await _record(conn, operation.origin, subject.tenant_id, "succeeded", result)
    return tenant


async def restore_ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    """Failed or cancelled: the id is free again, and the backup as it was."""
    tenant_id = TenantId(operation.tenant_id or "")
    await registry.release(conn, tenant_id, operation.id)
    await _record(conn, operation.origin, tenant_id, OUTCOMES[status], problem.as_json())


async def restore_again(conn: Connection, failed: Operation, new_id: UUID, origin: Origin) -> Operation:
    """From the same backup."""
    return await request_restore(
        conn,
        TenantId(failed.tenant_id or ""),
        UUID(failed.parameters["backup_id"]),
        operation_id=new_id,
        reason=failed.parameters.get("reason"),
        origin=origin,
        retry_of=failed.id,
    )


async def _record(conn: Connection, origin: Origin, tenant_id: str, outcome: Outcome, after: dict[str, Any]) -> None:
    await audit.record(
        conn, origin, action="tenant.restore", target=f"tenant/{tenant_id}", outcome=outcome, after=after
    )
