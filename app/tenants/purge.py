"""Purging a tenant: a verified backup, unless it was waived, then one transaction that drops it all."""

from typing import Any, Final
from uuid import UUID, uuid4

from app.audit import service as audit
from app.audit.model import Origin
from app.audit.queries import Outcome
from app.backups import making
from app.backups import queries as backup_queries
from app.backups.errors import BackupFailed
from app.backups.model import Backup
from app.db.pool import Connection, Database
from app.errors import Conflict, Problem
from app.operations import service as operations
from app.operations.model import Claim, Kind, Operation, Status
from app.operations.rules import OUTCOMES, OperationNotRetryable
from app.operations.service import Steps
from app.plans.model import Confirmed, Intent
from app.registry import queries as registry
from app.registry import service as registry_service
from app.registry.model import State, Tenant, TenantId, Transition
from app.registry.service import TenantNotFound, TenantStateForbids
from app.schema import files, script
from app.schema import queries as schema_queries
from app.schema import service as schema
from app.tenants import lifecycle, loss, queries

_GOING: Final = frozenset({State.PURGING, State.FAILED})
# Who purges what is due.
SCHEDULE: Final = Origin(actor="service:purge")


class PurgeSuperseded(Conflict):
    code = "purge_superseded"
    title = "The tenant is no longer being purged by this operation"


async def request_purge(
    conn: Connection,
    tenant: Tenant,
    *,
    operation_id: UUID,
    reason: str | None,
    waive_backup: bool,
    origin: Origin,
    planned: Intent | None = None,
    confirmed: Confirmed | None = None,
    retry_of: UUID | None = None,
) -> Operation:
    """Stores operation, job and audit row, in the caller's transaction; `tenant` is locked. The schedule plans nothing.

    The reason is, by default, the deletion's. Of a failed tenant there is nothing to back up. Raises
    TenantStateForbids, SchemaBusy, Invalid.
    """
    registry_service.require_transition(tenant, Transition.PURGE)
    await schema.require_accepting(conn)
    await lifecycle.require_no_credentials(conn, reason)
    reason = reason or tenant.state_reason
    operation = await operations.request(
        conn,
        operation_id,
        Kind.TENANT_PURGE,
        origin=origin,
        tenant_id=tenant.tenant_id,
        parameters={
            "reason": reason,
            "waive_backup": waive_backup or tenant.schema_version is None,
            "planned": None if planned is None else planned.digest.hex(),
        },
        retry_of=retry_of,
    )
    if tenant.state is State.DELETED:
        await registry.move(conn, tenant.tenant_id, Transition.PURGE, reason=reason, actor=origin.actor)
    await registry.set_operation(conn, tenant.tenant_id, operation.id)
    after: dict[str, Any] = {"waive_backup": waive_backup} | ({} if reason is None else {"reason": reason})
    after |= {} if confirmed is None else confirmed.as_json()
    await _record(conn, origin, tenant.tenant_id, "accepted", after)
    return operation


async def purge_due(database: Database) -> int:
    """Asks for the purge of tenants whose time has come, each in a transaction of its own; returns how many.

    Over several workers each is asked for once. One whose purge failed is tried again after an hour.
    """
    async with database.connection() as conn:
        due = await queries.due(conn)
    asked = 0
    for tenant_id in due:
        try:
            async with database.transaction() as conn:
                tenant = await registry_service.require(conn, tenant_id, lock=True)
                if not await queries.is_due(conn, tenant_id):
                    continue  # it was purged in vain, or restored and deleted again, since
                await request_purge(
                    conn, tenant, operation_id=uuid4(), reason=None, waive_backup=False, origin=SCHEDULE
                )
                asked += 1
        except (TenantNotFound, TenantStateForbids):
            continue  # another worker was a moment faster, or somebody has restored it
    return asked


async def drop(conn: Connection, claim: Claim, backup: Backup | None, *, steps: Steps) -> None:
    """Everything of the tenant, and the operation's end, in the caller's one transaction.

    Nothing goes that is not in the backup: rows are summed up again behind a lock. Raises ClaimLost or
    CancelRequested, PurgeSuperseded, BackupFailed, DatabaseError where something that is not ours hangs on it.
    """
    await operations.require_claim(conn, claim)
    operation = claim.operation
    tenant = await registry_service.require(conn, operation.tenant_id or "", lock=True)
    if tenant.state not in _GOING or tenant.last_operation_id != str(operation.id):
        raise PurgeSuperseded(f"Tenant {tenant.tenant_id} is {tenant.state}, and not for this operation to purge.")
    with steps.step("drop"):
        if backup is not None:
            await backup_queries.lock_tables(conn, tenant.schema_name)
            sums = await backup_queries.sums(conn, tenant.schema_name)
            if differing := making.different(backup.subject.tables, sums):
                raise BackupFailed(f"Rows have changed since the backup: {', '.join(differing)}. Purge it again.")
        if tenant.schema_version is not None:  # else a schema of that name would be somebody else's
            for statement in script.drop_tenant(script.load_down(files.root()), tenant.schema_name):
                await schema_queries.execute(conn, statement)
        reason = operation.parameters.get("reason")
        await queries.bury(
            conn, tenant, backup_id=None if backup is None else backup.id, by=operation.actor, reason=reason
        )
    result = {
        "tenant_id": tenant.tenant_id,
        "generation": tenant.generation,
        "backup_id": None if backup is None else str(backup.id),
    }
    await operations.succeed(conn, claim, result=result, steps=steps)
    await _record(conn, operation.origin, tenant.tenant_id, "succeeded", result)


async def purge_ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    """Failed or cancelled: the tenant is deleted (or failed) as before; deleted, it says why."""
    tenant_id = TenantId(operation.tenant_id or "")
    await registry.purge_failed(conn, tenant_id, operation.id, problem.as_json())
    await _record(conn, operation.origin, tenant_id, OUTCOMES[status], problem.as_json())


async def purge_again(conn: Connection, failed: Operation, new_id: UUID, origin: Origin) -> Operation:
    """As it was asked for, and confirmed. Raises TenantStateForbids where the tenant is no longer deleted, and
    OperationNotRetryable where there is something else to lose than what was confirmed.
    """
    tenant = await registry_service.require(conn, failed.tenant_id or "", lock=True)
    registry_service.require_transition(tenant, Transition.PURGE)
    waive_backup = bool(failed.parameters.get("waive_backup"))
    intent, _ = await loss.purge(conn, tenant, waive_backup=waive_backup)
    # One that the schedule asked for loses nothing for good: it never waives the backup.
    scheduled = failed.parameters.get("planned") is None and not waive_backup
    if not scheduled and failed.parameters.get("planned") != intent.digest.hex():
        raise OperationNotRetryable("There is something else to lose than what was confirmed: make a new plan.")
    return await request_purge(
        conn,
        tenant,
        operation_id=new_id,
        reason=failed.parameters.get("reason"),
        waive_backup=waive_backup,
        origin=origin,
        planned=None if scheduled else intent,
        retry_of=failed.id,
    )


async def _record(conn: Connection, origin: Origin, tenant_id: str, outcome: Outcome, after: dict[str, Any]) -> None:
    await audit.record(conn, origin, action="tenant.purge", target=f"tenant/{tenant_id}", outcome=outcome, after=after)
