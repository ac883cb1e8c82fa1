"""Suspending, resuming, deleting and bringing back a tenant: done in the caller's transaction."""

from datetime import timedelta

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection
from app.errors import FieldError, Invalid
from app.registry import queries as registry
from app.registry import service as registry_service
from app.registry.model import Tenant, Transition


async def move(
    conn: Connection,
    tenant: Tenant,
    transition: Transition,
    *,
    reason: str | None,
    origin: Origin,
    grace: timedelta | None = None,
) -> Tenant:
    """The tenant after it; `tenant` is locked. A deleted one is kept for `grace`.

    Raises TenantStateForbids, and Invalid for a reason that looks like credentials.
    """
    registry_service.require_transition(tenant, transition)
    await require_no_credentials(conn, reason)
    await registry.move(conn, tenant.tenant_id, transition, reason=reason, actor=origin.actor, grace=grace)
    moved = await registry_service.require(conn, tenant.tenant_id)
    after = {"state": moved.state, "reason": reason}
    if moved.purge_time is not None:
        after["purge_time"] = moved.purge_time.isoformat()
    await audit.record(
        conn,
        origin,
        action=f"tenant.{transition}",
        target=f"tenant/{tenant.tenant_id}",
        outcome="succeeded",
        before={"state": tenant.state},
        after={name: value for name, value in after.items() if value is not None},
    )
    return moved


async def require_no_credentials(conn: Connection, reason: str | None) -> None:
    """Raises Invalid: a reason goes into the audit trail. It holds credentials only as part of a URL."""
    if reason is not None and "://" in reason and await registry.credentials_in(conn, {"reason": reason}):
        errors = [FieldError(pointer="/reason", detail="must not hold credentials")]
        raise Invalid("The request is not valid; see errors.", errors=errors)
