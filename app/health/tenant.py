"""The health of one tenant, from what is known: nothing of its own schema is read."""

from uuid import UUID

from app.collect import queries as snapshots
from app.db.pool import Connection
from app.health import growth, queries, tenant_queries
from app.health.tenant_model import Measured, TenantSeen, Use
from app.limits import queries as limit_queries
from app.limits import service as limits
from app.operations import queries as operations
from app.operations.model import Operation, Status
from app.registry.model import Tenant
from app.registry.service import TenantStateForbids
from app.schema import queries as schema


async def seen(conn: Connection, tenant: Tenant) -> TenantSeen:
    last = None if tenant.last_operation_id is None else await operations.get(conn, UUID(tenant.last_operation_id))
    newest = await tenant_queries.newest_operation(conn, tenant.tenant_id)
    return TenantSeen(
        tenant=tenant,
        latest_version=await schema.latest_tenant_version(conn),
        last_operation=last,
        failed=newest if newest is not None and _failed_since(newest, last) else None,
        verified=await tenant_queries.verified(conn, tenant.tenant_id),
        faults=await tenant_queries.faults(conn, tenant.tenant_id),
    )


async def measured(conn: Connection, tenant: Tenant) -> Measured:
    """As of the last look of a collector; what counters say, as of now."""
    now = await queries.clock(conn)
    samples = await snapshots.history(conn, tenant.tenant_id, since=now - growth.WINDOW)
    found = await snapshots.schema(conn, tenant.tenant_id)
    allowed = await _allowed(conn, tenant)
    counters = await limit_queries.counters(conn, tenant.tenant_id)
    uses = [Use(name=name, used=used, allowed=allowed[name]) for name, used in counters.items() if name in allowed]
    storage = growth.storage(found, allowed.get(growth.STORAGE))
    return Measured(
        now=now,
        schema=found,
        uses=sorted([*uses, *([] if storage is None else [storage])], key=lambda use: (-use.percentage, use.name)),
        growth=growth.of_samples(samples, now),
    )


async def _allowed(conn: Connection, tenant: Tenant) -> dict[str, int]:
    """By the limit's name. Nothing of a tenant without a configuration, which is told of by other checks."""
    try:
        effective = (await limits.get(conn, tenant)).effective
    except TenantStateForbids:
        return {}
    return {name: value.value for name, value in effective.items() if value.value is not None}


def _failed_since(newest: Operation, last: Operation | None) -> bool:
    return newest.status is Status.FAILED and (last is None or newest.id != last.id)
