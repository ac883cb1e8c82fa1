"""Asking for an upgrade or a downgrade: one of them at a time, in the caller's transaction."""

from typing import Any
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection
from app.operations import queries as operation_queries
from app.operations import service as operations
from app.operations.model import Kind, Operation
from app.plans import service as plans
from app.schema.downgrade import DowngradeBlocked, Plan
from app.schema.service import SchemaBusy


async def request_upgrade(
    conn: Connection, *, operation_id: UUID, origin: Origin, retry_of: UUID | None = None
) -> Operation:
    """A new operation, or the one that is queued or running. Raises SchemaBusy during a downgrade.

    A retry is always a new one: it raises SchemaBusy during an upgrade too.
    """
    running = await operation_queries.unfinished(conn, Kind.SCHEMA_UPGRADE)
    if running is not None:
        if retry_of is not None:
            raise _busy(running)
        return running
    await _require_none(conn, Kind.SCHEMA_DOWNGRADE)
    operation = await operations.request(conn, operation_id, Kind.SCHEMA_UPGRADE, origin=origin, retry_of=retry_of)
    await _accepted(conn, operation, origin)
    return operation


async def request_downgrade(
    conn: Connection,
    planned: Plan,
    token: str,
    *,
    operation_id: UUID,
    origin: Origin,
    needs_approval: bool,
) -> Operation:
    """Raises ConfirmationInvalid, ApprovalNeeded, DowngradeBlocked, and SchemaBusy while the schema is worked on."""
    confirmed = await plans.use_up(conn, token, planned.intent({}), actor=origin.actor, needs_approval=needs_approval)
    if planned.blockers:
        raise DowngradeBlocked(
            f"{len(planned.blockers)} things that are not ours stand in the way; move or drop them first.",
            blockers=list(planned.blockers[:100]),
        )
    await _require_none(conn, Kind.SCHEMA_UPGRADE)
    await _require_none(conn, Kind.SCHEMA_DOWNGRADE)
    operation = await operations.request(
        conn,
        operation_id,
        Kind.SCHEMA_DOWNGRADE,
        origin=origin,
        parameters={"tenants": [tenant.identity for tenant in planned.tenants]},
    )
    await _accepted(conn, operation, origin, after=confirmed.as_json())
    return operation


async def _require_none(conn: Connection, kind: Kind) -> None:
    running = await operation_queries.unfinished(conn, kind)
    if running is not None:
        raise _busy(running)


def _busy(running: Operation) -> SchemaBusy:
    return SchemaBusy(
        f"A {running.kind} is {running.status}; wait for its end.", operation=f"/v1/operations/{running.id}"
    )


async def _accepted(
    conn: Connection, operation: Operation, origin: Origin, after: dict[str, Any] | None = None
) -> None:
    await audit.record(conn, origin, action=operation.kind, target="schema", outcome="accepted", after=after)
