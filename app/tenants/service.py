"""Provisioning: a request that is stored with its job, and one transaction that does all of it."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog import service as catalog
from app.config import service as config
from app.db.pool import Connection
from app.errors import Conflict, FieldError, Invalid, Problem
from app.integrations import queries as integrations
from app.limits import service as limits
from app.operations import service as operations
from app.operations.model import Claim, Kind, Operation, Status
from app.operations.rules import OUTCOMES
from app.operations.service import Steps
from app.registry import queries as registry
from app.registry import service as registry_service
from app.registry.model import State, Tenant, TenantId, TenantRequest
from app.schema import service as schema
from app.schema.expected import ExpectedTenants
from app.schema.script import Target
from app.schema.service import CatalogueMismatch
from app.tenants import queries


class TenantExists(Conflict):
    code = "tenant_exists"
    title = "The tenant exists"


class TenantBeingProvisioned(Conflict):
    code = "tenant_being_provisioned"
    title = "The tenant is being provisioned"


class TenantFailedOtherwise(Conflict):
    code = "tenant_request_differs"
    title = "Another request for this tenant has failed"


async def request_provisioning(
    conn: Connection,
    request: TenantRequest,
    *,
    operation_id: UUID,
    origin: Origin,
    retry_of: UUID | None = None,
    by_hand: bool = False,
) -> Operation:
    """Stores tenant, operation, job and audit row, in the caller's transaction.

    A tenant left failed is repaired by the same request again. `by_hand`: the caller does the work itself,
    so no job is queued, and a repair need only repeat the failed request's id and name. Raises TenantExists,
    TenantBeingProvisioned, TenantFailedOtherwise, Invalid, SchemaNotInstalled before the first upgrade, and
    SchemaBusy until a downgrade has ended.
    """
    await schema.require_accepting(conn)
    await check(conn, request)
    operation = await operations.request(
        conn,
        operation_id,
        Kind.TENANT_PROVISION,
        origin=origin,
        tenant_id=request.tenant_id,
        retry_of=retry_of,
        queued=not by_hand,
    )
    if not await registry.register(conn, request, operation_id):
        await _take_up_again(conn, request, operation_id, exact=not by_hand)
    for secret in request.secrets:
        await integrations.keep_secret(conn, request.tenant_id, secret, actor=origin.actor)
    await _accepted(conn, request.tenant_id, request.tenant_name, request.subscription_tier, origin)
    return operation


class _TakenMeanwhile(Exception):
    """Ends the savepoint of many."""


async def request_all_new(conn: Connection, requests: Mapping[UUID, TenantRequest], *, origin: Origin) -> bool:
    """As request_provisioning() of each, by the ids of their operations, but together, with a handful of round trips.

    They are valid, and in the order of their ids. False, and nothing is stored, where there is one of them already.
    """
    try:
        async with conn.transaction():
            tenant_ids = {operation_id: str(request.tenant_id) for operation_id, request in requests.items()}
            await operations.request_all(conn, tenant_ids, Kind.TENANT_PROVISION, origin=origin)
            await _register_all(conn, requests)
            after = {
                f"tenant/{r.tenant_id}": {"tenant_name": r.tenant_name, "subscription_tier": r.subscription_tier}
                for r in requests.values()
            }
            await audit.record_all(conn, origin, action="tenant.create", outcome="accepted", after=after)
    except _TakenMeanwhile:
        return False
    return True


async def _register_all(conn: Connection, requests: Mapping[UUID, TenantRequest]) -> None:
    if not await registry.register_all(conn, requests):
        raise _TakenMeanwhile


async def _accepted(conn: Connection, tenant_id: TenantId, tenant_name: str, tier: str, origin: Origin) -> None:
    await audit.record(
        conn,
        origin,
        action="tenant.create",
        target=f"tenant/{tenant_id}",
        outcome="accepted",
        after={"tenant_name": tenant_name, "subscription_tier": tier},
    )


async def check(conn: Connection, request: TenantRequest) -> None:
    """What only the database knows, before it is too late for a 422. Raises Invalid."""
    errors = await catalog.wrong_tier(conn, request.subscription_tier)
    errors += await catalog.wrong_features(conn, request.document.get("features_enabled", []))
    errors += await limits.wrong_values(conn, request.document.get("limits", {}), at="/limits")
    # A name holds credentials only as part of a URL: most requests have nothing more to ask.
    if request.config or "://" in request.tenant_name:
        errors += await _wrong_config(conn, request)
    if errors:
        raise Invalid("The request is not valid; see errors.", errors=errors)


async def _wrong_config(conn: Connection, request: TenantRequest) -> list[FieldError]:
    """With each column where the request has it."""
    elsewhere = {
        "/config/apg_integrations": "/integrations",
        "/config/tenant_name": "/tenant_name",
        "/config/billing_contact": "/billing_contact",
    }
    values = {**request.config, "tenant_name": request.tenant_name}
    return [
        replace(error, pointer=elsewhere.get(error.pointer, error.pointer))
        for error in await config.wrong_values(conn, values, at="/config")
    ]


async def _take_up_again(conn: Connection, request: TenantRequest, operation_id: UUID, *, exact: bool) -> None:
    found = await registry.get_request(conn, request.tenant_id)
    if found is None:  # it was there a moment ago, and has gone since
        raise TenantExists(f"Tenant {request.tenant_id} is just being removed; try again.")
    state, stored, last_operation_id = found
    if state is State.PROVISIONING:
        raise _being_provisioned(request.tenant_id, last_operation_id)
    if state is not State.FAILED:
        raise TenantExists(f"Tenant {request.tenant_id} exists and is {state}.", state=state)
    same = request.is_stored_as(stored) if exact else stored.get("tenant_name") == request.tenant_name
    if not same:
        raise TenantFailedOtherwise(
            f"Tenant {request.tenant_id} failed with another request; repeat that one to repair it.",
            state=state,
        )
    if not await registry.retry(conn, request.tenant_id, operation_id):  # somebody was a moment faster: look again
        await _take_up_again(conn, request, operation_id, exact=exact)


def _being_provisioned(tenant_id: TenantId, operation_id: UUID | str | None) -> TenantBeingProvisioned:
    return TenantBeingProvisioned(
        f"Tenant {tenant_id} is being provisioned.",
        operation=None if operation_id is None else f"/v1/operations/{operation_id}",
    )


async def provision_again(conn: Connection, failed: Operation, new_id: UUID, origin: Origin) -> Operation:
    """The failed creation as it was requested. Raises TenantExists where the tenant is no longer failed."""
    tenant = await registry_service.require(conn, failed.tenant_id or "", lock=True)
    if tenant.state is State.PROVISIONING:
        raise _being_provisioned(tenant.tenant_id, tenant.last_operation_id)
    if tenant.state is not State.FAILED:
        raise TenantExists(f"Tenant {tenant.tenant_id} is {tenant.state} now.", state=tenant.state)
    await schema.require_accepting(conn)
    operation = await operations.request(
        conn,
        new_id,
        Kind.TENANT_PROVISION,
        origin=origin,
        tenant_id=tenant.tenant_id,
        retry_of=failed.id,
    )
    await registry.retry(conn, tenant.tenant_id, new_id)
    await _accepted(conn, tenant.tenant_id, tenant.tenant_name, tenant.subscription_tier, origin)
    return operation


async def provision(
    conn: Connection, claim: Claim, expected: ExpectedTenants, target: Target, *, steps: Steps
) -> Tenant:
    """Builds the tenant and ends the operation, in the caller's one transaction.

    Needs expected.prepare() of the latest version, and raises Transient where that has changed since. Raises
    CatalogueMismatch where setup_tenant() did not build what the files say, ClaimLost where another worker
    has taken over. Whatever it raises, all of it rolls back.
    """
    await operations.require_claim(conn, claim)
    tenant = await registry_service.require(conn, claim.operation.tenant_id or "")
    with steps.step("setup_tenant"):
        await queries.setup_tenant(conn, target, tenant.tenant_id, tenant.tenant_name, tenant.created_by)
    with steps.step("verify_catalogue"):
        tenant = await registry_service.require(conn, tenant.tenant_id)
        version = tenant.schema_version
        if tenant.state is not State.ACTIVE or version is None:
            raise CatalogueMismatch(f"setup_tenant() left tenant {tenant.tenant_id} {tenant.state}.")
        await schema.judge_tenant(
            conn, expected, tenant_id=tenant.tenant_id, schema_name=tenant.schema_name, version=version
        )
    await operations.succeed(
        conn, claim, result={"tenant_id": tenant.tenant_id, "schema_version": version}, steps=steps
    )
    await audit.record(
        conn,
        claim.operation.origin,
        action="tenant.create",
        target=f"tenant/{tenant.tenant_id}",
        outcome="succeeded",
        after={"state": tenant.state, "schema_version": version},
    )
    return tenant


async def provisioning_ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    """Failed or cancelled: the tenant reads failed, with the problem, until the same request is made again."""
    tenant_id = TenantId(operation.tenant_id or "")
    await registry.fail(conn, tenant_id, problem.as_json())
    await audit.record(
        conn,
        operation.origin,
        action="tenant.create",
        target=f"tenant/{tenant_id}",
        outcome=OUTCOMES[status],
        after=problem.as_json(),
    )
