"""PUT and PATCH of a tenant: creation that may be repeated, and changes of what names and bills it."""

from typing import Any, Final
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog import service as catalog
from app.db.pool import Connection
from app.errors import Conflict, FieldError, Invalid, Transient
from app.features import queries as features
from app.features import service as feature_rules
from app.operations import service as operations
from app.operations.model import Operation
from app.registry import queries as registry
from app.registry import service as registry_service
from app.registry.model import State, Tenant, TenantRequest
from app.tenants import service
from app.tenants.service import TenantBeingProvisioned, TenantExists

# Of a PUT that meets others at the same tenant.
_TRIES: Final = 5


class TenantRequestDiffers(Conflict):
    code = "tenant_request_differs"
    title = "The tenant was created by another request"


async def put(
    conn: Connection, request: TenantRequest, *, operation_id: UUID, origin: Origin
) -> tuple[Operation | None, Tenant]:
    """Creates the tenant, or finds it as this same request has made it; in the caller's transaction.

    The operation is the one that is to be waited for: None where there is nothing left to do. Raises
    TenantRequestDiffers, and what service.request_provisioning() raises.
    """
    for _ in range(_TRIES):
        found = await _found(conn, request)
        if found is not None:
            return found
        try:
            async with conn.transaction():
                operation = await service.request_provisioning(conn, request, operation_id=operation_id, origin=origin)
        except (TenantBeingProvisioned, TenantExists):
            continue  # somebody was a moment faster: look at what they have made
        return operation, await registry_service.require(conn, request.tenant_id)
    raise Transient(f"Tenant {request.tenant_id} is being changed by others again and again.", sqlstate="40001")


async def _found(conn: Connection, request: TenantRequest) -> tuple[Operation | None, Tenant] | None:
    """The tenant, as it was asked for, and what builds it now; None where it is to be built, or built again.

    Judged by one row: what is read later may be somebody else's. Raises TenantRequestDiffers.
    """
    asked = await registry.get_request(conn, request.tenant_id)
    if asked is None:
        return None
    state, stored, last_operation_id = asked
    if not request.is_stored_as(stored):
        raise TenantRequestDiffers(
            f"Tenant {request.tenant_id} was created by another request and is {state}; PATCH changes it.", state=state
        )
    if state is State.FAILED:
        return None
    operation = None
    if state is State.PROVISIONING and last_operation_id is not None:
        operation = await operations.require(conn, last_operation_id)
    return operation, await registry_service.require(conn, request.tenant_id)


async def change(conn: Connection, tenant: Tenant, changes: dict[str, Any], *, origin: Origin) -> Tenant:
    """Sets tenant_name, subscription_tier and billing_contact, in the caller's transaction; `tenant` is locked.

    Raises TenantStateForbids, Invalid for an unknown tier or what looks like credentials, and FeatureRequired where
    the tier would take what a feature of the tenant's own requires.
    """
    registry_service.require_changeable(tenant)
    before = {name: getattr(tenant, name) for name in changes}
    if before == changes:
        return tenant
    errors = [
        FieldError(pointer=f"/{name}", detail="must not hold credentials")
        for name in await registry.credentials_in(conn, changes)
    ]
    if changes.get("subscription_tier", tenant.subscription_tier) != tenant.subscription_tier:
        errors += await catalog.wrong_tier(conn, changes["subscription_tier"])
    if errors:
        raise Invalid("The request is not valid; see errors.", errors=errors)
    had = await features.of_tenant(conn, tenant.tenant_id) if "subscription_tier" in changes else []
    await registry.change(conn, tenant.tenant_id, changes, actor=origin.actor)
    if had:
        feature_rules.require_no_more_missing(had, await features.of_tenant(conn, tenant.tenant_id))
    await audit.record(
        conn,
        origin,
        action="tenant.change",
        target=f"tenant/{tenant.tenant_id}",
        outcome="succeeded",
        before=before,
        after=changes,
    )
    return await registry_service.require(conn, tenant.tenant_id)
