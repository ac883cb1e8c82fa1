"""Repairing a tenant: what a transaction can in one, then indexes concurrently where the tenant is in use."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.audit.queries import Outcome
from app.db.pool import Connection, Database
from app.errors import AppError, Problem
from app.limits import usage
from app.limits.usage import AuditRoleNotGranted, UsageNotCounted
from app.operations import service as operations
from app.operations.model import Kind, Operation, Status
from app.operations.rules import OUTCOMES
from app.registry import service as registry
from app.registry.model import Tenant
from app.schema import mending
from app.schema import queries as schema_queries
from app.schema.expected import ExpectedTenants
from app.schema.mending import Plan, Repair, Subject
from app.tenants import repair_queries, verifying


class TenantNotRepaired(AppError):
    """What could be mended was; the rest is named."""

    code = "tenant_not_repaired"
    title = "Some of the tenant's catalogue could not be mended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """A repair, and what whoever asked for it must know besides."""

    repair: Repair
    warnings: tuple[str, ...]

    def as_json(self, tenant_id: str) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            **{verb: verifying.names(drifts) for verb, drifts in self.repair.mended().items()},
            "kept": verifying.names(self.repair.kept),
            "warnings": list(self.warnings),
        }

    def require_whole(self, tenant_id: str) -> None:
        """Raises TenantNotRepaired, with what is left and why."""
        # What others depend on comes first: with another owner, grants are others too.
        left = sorted(self.repair.left, key=lambda drift: drift.kind.endswith("grant"))
        if left:
            told = "; ".join(_why(drift.kind, drift.name, self.repair.refused) for drift in left[:10])
            more = f"; and {len(left) - 10} more" if len(left) > 10 else ""
            raise TenantNotRepaired(f"Of tenant {tenant_id} these are still not as expected: {told}{more}.")


def _why(kind: str, name: str, refused: Mapping[tuple[str, str], str]) -> str:
    reason = refused.get((kind, name))
    return f"{kind} {name}".rstrip() + ("" if reason is None else f" ({reason})")


async def plan(database: Database, expected: ExpectedTenants, tenant_id: str, *, drop_extra: bool) -> Plan:
    """What a repair would do. Raises as verify() does, and TenantStateForbids where nothing may be changed."""
    verdict = await verifying.verify(database, expected, tenant_id)
    registry.require_changeable(verdict.tenant)
    async with database.transaction() as conn:
        await schema_queries.as_of_one_moment(conn)
        found = await mending.examine(conn, expected, verdict.subject)
        return await mending.plan(conn, expected, verdict.subject, found, drop_extra=drop_extra)


async def request_repair(
    conn: Connection,
    tenant_id: str,
    *,
    drop_extra: bool,
    operation_id: UUID,
    origin: Origin,
    retry_of: UUID | None = None,
) -> Operation:
    """Stores operation, job and audit row; or returns the one that is under way. Raises TenantNotFound,
    TenantStateForbids.
    """
    tenant = await registry.require(conn, tenant_id, lock=True)
    registry.require_changeable(tenant)
    running = await repair_queries.unfinished(conn, tenant.tenant_id, Kind.TENANT_REPAIR)
    if running is not None:
        return running
    parameters = {"drop_extra": drop_extra}
    operation = await operations.request(
        conn,
        operation_id,
        Kind.TENANT_REPAIR,
        origin=origin,
        tenant_id=tenant.tenant_id,
        parameters=parameters,
        retry_of=retry_of,
    )
    await record(conn, origin, tenant.tenant_id, "accepted", parameters)
    return operation


async def _nobody(_: Connection) -> None: ...


async def run(
    database: Database,
    expected: ExpectedTenants,
    tenant_id: str,
    *,
    drop_extra: bool,
    origin: Origin,
    guard: Callable[[Connection], Awaitable[None]] = _nobody,
) -> Repaired:
    """Each phase leaves an audit row of what it has mended. `guard` is asked first, in each transaction.

    Raises Transient where somebody is in the way, and as plan() does. What is left is for require_whole() to say.
    """
    verdict = await verifying.verify(database, expected, tenant_id)
    registry.require_changeable(verdict.tenant)
    subject = verdict.subject
    async with database.transaction() as conn:
        await guard(conn)
        tenant = await registry.require(conn, tenant_id, lock=True)
        registry.require_changeable(tenant)
        subject = verifying.subject_of(tenant)
        repair = await mending.mend(conn, expected, subject, drop_extra=drop_extra)
        warnings = await _afterwards(conn, tenant, repair, origin)
        await _leave(conn, subject, repair, {}, origin)
    if repair.aside:
        refused = await mending.mend_aside(database, repair)
        async with database.transaction() as conn:
            await guard(conn)
            done = repair.mended()
            repair = await mending.conclude(conn, expected, subject, repair, refused, drop_extra=drop_extra)
            await _leave(conn, subject, repair, done, origin)
    return Repaired(repair=repair, warnings=tuple(warnings))


async def _afterwards(conn: Connection, tenant: Tenant, repair: Repair, origin: Origin) -> list[str]:
    """Rows that came while a trigger was away were not counted."""
    mended = repair.mended()
    warnings = [f"table {d.name} was made empty: its rows are gone" for d in mended["made"] if d.kind == "relation"]
    warnings += [
        f"column {d.name} was made anew: its values are gone"
        for d in mended["made"]
        if d.kind == "column" and f"table {d.name.partition('.')[0]} was made empty: its rows are gone" not in warnings
    ]
    if any(d.kind in {"trigger", "relation"} for d in (*mended["made"], *mended["altered"])):
        try:
            await usage.recount(conn, tenant, origin=origin)
        except (AuditRoleNotGranted, UsageNotCounted) as error:
            warnings.append(f"rows were not counted anew: {error.detail}")
    return warnings


async def _leave(conn: Connection, subject: Subject, repair: Repair, before: Mapping[str, Any], origin: Origin) -> None:
    """What was mended since `before`, in the audit trail, and what was found in the end."""
    mended = {
        verb: [str(drift) for drift in drifts if drift not in before.get(verb, ())]
        for verb, drifts in repair.mended().items()
    }
    if any(mended.values()):
        await audit.record(
            conn,
            origin,
            action="tenant.mend",
            target=f"tenant/{subject.tenant_id}",
            outcome="succeeded",
            after={verb: objects for verb, objects in mended.items() if objects},
        )
    await verifying.keep(conn, subject, repair.after, repair.fingerprint)


async def ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    """What a phase has mended stays so."""
    await record(conn, operation.origin, operation.tenant_id or "", OUTCOMES[status], problem.as_json())


async def again(conn: Connection, failed: Operation, new_id: UUID, origin: Origin) -> Operation:
    return await request_repair(
        conn,
        failed.tenant_id or "",
        drop_extra=bool(failed.parameters.get("drop_extra")),
        operation_id=new_id,
        origin=origin,
        retry_of=failed.id,
    )


async def record(conn: Connection, origin: Origin, tenant_id: str, outcome: Outcome, after: dict[str, Any]) -> None:
    await audit.record(
        conn, origin, action=Kind.TENANT_REPAIR, target=f"tenant/{tenant_id}", outcome=outcome, after=after
    )
