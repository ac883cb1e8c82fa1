"""One change of many tenants: fixed when it is asked for, then made one tenant at a time, each with its own outcome."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog import service as catalog
from app.db.pool import Connection
from app.errors import Conflict, Invalid, NotFound
from app.features import queries as feature_queries
from app.features import service as features
from app.features.model import TenantFeature
from app.http import statuses
from app.limits import service as limits
from app.limits.model import TenantLimits
from app.operations import service as operations
from app.operations.model import Kind, Operation
from app.plans.model import Confirmed
from app.registry import service as registry
from app.registry.model import State, Tenant, Transition
from app.registry.service import TenantFilter
from app.schema import service as schema
from app.tenants import bulk_queries, changes, lifecycle
from app.tenants.bulk_model import Changes, Target
from app.tenants.loss_queries import Estimate

# What is one tenant's matter; anything else stops the work.
_OWN: Final = (Invalid, Conflict, NotFound)
# How many tenants a preview tries the change on.
PREVIEWED: Final = 20


class AnotherTenant(Conflict):
    code = "another_tenant"
    title = "The id is another tenant's now"


async def require_valid(conn: Connection, wanted: Changes) -> None:
    """What would be wrong for every tenant. Raises Invalid, with the nearest names."""
    errors = []
    if wanted.subscription_tier is not None:
        errors += await catalog.wrong_tier(conn, wanted.subscription_tier)
    # A name that the catalogue does not have may be taken from those who have it.
    errors += await catalog.unknown_features(
        conn, [name for name, enabled in wanted.features.items() if enabled is not None], pointer="/features"
    )
    errors += await limits.wrong_values(
        conn, {name: value for name, value in wanted.limits.items() if value is not None}, at="/limits"
    )
    if errors:
        raise Invalid("The request is not valid; see errors.", errors=errors)


async def preview(
    conn: Connection, fitting: TenantFilter, wanted: Changes, *, origin: Origin
) -> tuple[int, list[Target]]:
    """How many tenants it touches, and what would become of the first ones; the caller rolls back."""
    tenant_ids = await bulk_queries.fitting(conn, fitting)
    return len(tenant_ids), [await change_one(conn, name, wanted, origin=origin) for name in tenant_ids[:PREVIEWED]]


async def request(
    conn: Connection, fitting: TenantFilter, wanted: Changes, *, operation_id: UUID, origin: Origin
) -> Operation:
    """Stores which tenants are to be changed, and queues the work, in the caller's transaction."""
    tenant_ids = await bulk_queries.fitting(conn, fitting)
    operation = await _store(conn, wanted, operation_id=operation_id, origin=origin)
    await bulk_queries.add(conn, operation.id, tenant_ids)
    await _accepted(conn, wanted, len(tenant_ids), origin)
    return operation


async def request_again(conn: Connection, old: Operation, new_id: UUID, origin: Origin) -> Operation:
    """Of a failed or cancelled one: the tenants that it has not come to, and those it was refused."""
    wanted = Changes.of(old.parameters)
    operation = await _store(conn, wanted, operation_id=new_id, origin=origin, retry_of=old.id)
    await bulk_queries.add_left(conn, operation.id, of=old.id)
    await _accepted(conn, wanted, (await bulk_queries.counts(conn, operation.id))["pending"], origin)
    return operation


async def _store(
    conn: Connection, wanted: Changes, *, operation_id: UUID, origin: Origin, retry_of: UUID | None = None
) -> Operation:
    return await operations.request(
        conn, operation_id, Kind.TENANTS_CHANGE, origin=origin, parameters=wanted.as_json(), retry_of=retry_of
    )


async def _accepted(conn: Connection, wanted: Changes, tenants: int, origin: Origin) -> None:
    after = {**wanted.as_json(), "tenants": tenants}
    await audit.record(conn, origin, action=Kind.TENANTS_CHANGE, target="tenants", outcome="accepted", after=after)


async def request_deletion(
    conn: Connection,
    going: Sequence[Estimate],
    *,
    operation_id: UUID,
    reason: str | None,
    grace: timedelta,
    confirmed: Confirmed,
    origin: Origin,
) -> Operation:
    """Queues the deletion of those that a plan named, in the caller's transaction. Raises Invalid, SchemaBusy."""
    await schema.require_accepting(conn)
    await lifecycle.require_no_credentials(conn, reason)
    parameters = {
        "reason": reason,
        "grace_seconds": round(grace.total_seconds()),
        "generations": {one.tenant_id: one.generation for one in going},
    }
    operation = await operations.request(conn, operation_id, Kind.TENANTS_DELETE, origin=origin, parameters=parameters)
    await bulk_queries.add(conn, operation.id, [one.tenant_id for one in going])
    after = {"tenants": len(going), **({} if reason is None else {"reason": reason}), **confirmed.as_json()}
    await audit.record(conn, origin, action=Kind.TENANTS_DELETE, target="tenants", outcome="accepted", after=after)
    return operation


async def delete_one(conn: Connection, operation: Operation, tenant_id: str) -> Target:
    """What the plan named, and nobody who has got the id since; in the caller's transaction."""
    wanted = operation.parameters
    try:
        async with conn.transaction():
            tenant = await registry.require(conn, tenant_id, lock=True)
            if tenant.generation != wanted["generations"][tenant_id]:
                raise AnotherTenant(f"Tenant {tenant_id} is another one than the plan named.")
            if tenant.state is State.DELETED:
                return Target(tenant_id=tenant_id, status="unchanged")
            grace = timedelta(seconds=wanted["grace_seconds"])
            await lifecycle.move(
                conn, tenant, Transition.DELETE, reason=wanted["reason"], origin=operation.origin, grace=grace
            )
    except _OWN as error:
        return Target(tenant_id=tenant_id, status="refused", problem=statuses.document(error))
    return Target(tenant_id=tenant_id, status="changed")


async def change_one(conn: Connection, tenant_id: str, wanted: Changes, *, origin: Origin) -> Target:
    """All of it or, where the tenant does not allow it, nothing; in the caller's transaction."""
    try:
        async with conn.transaction():
            tenant = await registry.require(conn, tenant_id, lock=True)
            before, after = await _change(conn, tenant, wanted, origin=origin)
    except _OWN as error:
        return Target(tenant_id=tenant_id, status="refused", problem=statuses.document(error))
    status: Any = "unchanged" if before == after else "changed"
    return Target(tenant_id=tenant_id, status=status, before=before, after=after)


async def _change(
    conn: Connection, tenant: Tenant, wanted: Changes, *, origin: Origin
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Features before the tier, and only then what they require: together they may be right where one is not."""
    registry.require_changeable(tenant)
    had: list[TenantFeature] = []
    limited = await limits.get(conn, tenant) if wanted.limits else None
    if wanted.features:
        had = await features.set_many(conn, tenant, wanted.features, origin=origin)
    changed = tenant
    if wanted.subscription_tier is not None:
        changes_ = {"subscription_tier": wanted.subscription_tier}
        changed = await changes.change(conn, tenant, changes_, origin=origin)
    has = await feature_queries.of_tenant(conn, tenant.tenant_id) if wanted.features else []
    features.require_no_more_missing(had, has)
    before, after = _said(tenant, had, wanted), _said(changed, has, wanted)
    if limited is not None:
        before["limits"] = _given(limited, wanted)
        now = await limits.get(conn, changed)
        after["limits"] = _given(await limits.change(conn, changed, wanted.limits, before=now, origin=origin), wanted)
    return before, after


def _given(known: TenantLimits, wanted: Changes) -> dict[str, Any]:
    return {
        name: {"value": known.given[name].value, "source": known.given[name].source} if name in known.given else None
        for name in wanted.limits
    }


def _said(tenant: Tenant, known: Iterable[TenantFeature], wanted: Changes) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if wanted.subscription_tier is not None:
        said["subscription_tier"] = tenant.subscription_tier
    if wanted.features:
        by_name = {feature.name: feature for feature in known}
        said["features"] = {
            name: {"enabled": by_name[name].enabled, "source": by_name[name].source} if name in by_name else None
            for name in wanted.features
        }
    return said
