"""How much of its limits a tenant uses."""

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection
from app.errors import Conflict, Unavailable
from app.limits import queries, service
from app.limits.model import ENFORCEABLE, HORIZONS, Limit, Method, TenantLimits, Usage
from app.limits.queries import Meter
from app.registry.model import Tenant
from app.registry.service import TenantStateForbids

# Bytes of a table that is counted anew; of a larger one the counter is told. 16 MiB take some 20 ms to read.
_CHEAP = 16 * 1024 * 1024
_MIB = 1024 * 1024
_COUNTED = sorted(set(ENFORCEABLE) - set(HORIZONS))


class AuditRoleNotGranted(Unavailable):
    """Under FORCE the owner sees no row: who counts needs the audit role."""

    code = "audit_role_not_granted"
    title = "The service may not read as the audit role"
    retry_after = 60


class UsageNotCounted(Conflict):
    code = "usage_not_counted"
    title = "The tenant's schema does not count its rows yet"


async def measure(conn: Connection, tenant: Tenant) -> list[Usage]:
    """Each limit, by name. In a transaction. Raises TenantStateForbids while there is no schema, AuditRoleNotGranted.

    What is counted was committed before; so is what a counter says.
    """
    limits = await service.get(conn, tenant)
    await _require_audit_role(conn)
    catalogue = await queries.catalogue(conn)
    counters = await queries.counters(conn, tenant.tenant_id) if await queries.counts(conn, tenant.tenant_id) else {}
    cheap = [
        meter
        for meter in await queries.meters(conn, tenant.tenant_id)
        if meter.limit_name not in counters or (meter.bytes or 0) <= _CHEAP
    ]
    measured = {name: (used, Method.COUNTER) for name, used in counters.items()}
    measured |= {name: (used, Method.COUNT) for name, used in (await _counted(conn, tenant, cheap)).items()}
    measured["max_forecast_horizon"] = measured["forecast_horizon_limit"]
    measured["storage_mb"] = (-(-await queries.size(conn, tenant.tenant_id) // _MIB), Method.SIZE)
    now = await queries.now(conn)
    return [_usage(limit, limits, measured.get(limit.name), now) for limit in catalogue]


def _usage(limit: Limit, limits: TenantLimits, found: tuple[int, Method] | None, now: object) -> Usage:
    return Usage(
        limit=limit,
        used=None if found is None else found[0],
        allowed=limits.effective[limit.name].value,
        method=None if found is None else found[1],
        measured_at=None if found is None else now,  # type: ignore[arg-type]
    )


async def recount(conn: Connection, tenant: Tenant, *, origin: Origin) -> dict[str, tuple[int, int]]:
    """Counts all rows and sets the counters, in the caller's transaction; returns what each said and says now.

    For what triggers do not see: a restore, or rows written with session_replication_role = replica. Who commits rows
    of the tenant meanwhile waits for the end of this transaction; reading and writing go on. Raises as measure() does,
    and UsageNotCounted while the schema has no triggers.
    """
    if tenant.schema_version is None:
        raise TenantStateForbids(
            f"Tenant {tenant.tenant_id} is {tenant.state}; it has no rows to count.", state=tenant.state
        )
    await _require_audit_role(conn)
    if not await queries.counts(conn, tenant.tenant_id):
        raise UsageNotCounted(f"Tenant {tenant.tenant_id} is at version {tenant.schema_version}: upgrade it first.")
    before = await queries.lock_counters(conn, tenant.tenant_id, _COUNTED)
    meters = [m for m in await queries.meters(conn, tenant.tenant_id) if m.limit_name in _COUNTED]
    after = await _counted(conn, tenant, meters)
    changed = {name: (before[name], used) for name, used in after.items() if before[name] != used}
    for name, (_, used) in changed.items():
        await queries.set_counter(conn, tenant.tenant_id, name, used)
    if changed:
        await audit.record(
            conn,
            origin,
            action="tenant.usage.recount",
            target=f"tenant/{tenant.tenant_id}",
            outcome="succeeded",
            before={name: was for name, (was, _) in changed.items()},
            after={name: used for name, (_, used) in changed.items()},
        )
    return {name: (before[name], used) for name, used in after.items()}


async def _counted(conn: Connection, tenant: Tenant, meters: list[Meter]) -> dict[str, int]:
    try:
        async with queries.as_audit_role(conn):
            return {meter.limit_name: await queries.measure(conn, meter) for meter in meters}
    except queries.Gone as error:
        raise TenantStateForbids(
            f"The schema of tenant {tenant.tenant_id} has just gone.", state=tenant.state
        ) from error


async def _require_audit_role(conn: Connection) -> None:
    grant = await queries.missing_grant(conn)
    if grant is not None:
        raise AuditRoleNotGranted(f"Rows of tenants are read as the audit role. Run as a superuser: {grant}")
