"""Verifying, or repairing, one tenant after the other."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.audit.queries import Outcome
from app.db.pool import Connection, Database
from app.errors import AppError, Transient, Unavailable
from app.operations import queries as operation_queries
from app.operations import service as operations
from app.operations.model import Kind, Operation
from app.registry.model import CHANGEABLE, State
from app.registry.service import TenantNotFound, TenantStateForbids
from app.schema import service as schema
from app.schema.expected import ExpectedTenants
from app.schema.upgrade import Progress, go_on
from app.tenants import repair_queries, repairing, verifying

# How many tenants a result names.
_NAMED: Final = 100
_VERIFIED: Final = sorted({State.ACTIVE, State.SUSPENDED, State.DELETED})


@dataclass(slots=True, kw_only=True)
class Fleet:
    """`drifted`: what of each tenant is not as expected; `repaired`: what was mended; `failed`: why it was not done."""

    verified: int = 0
    drifted: dict[str, dict[str, Any]] = field(default_factory=dict)
    repaired: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """With the first of them only."""
        return {
            "verified": self.verified,
            "drifted": len(self.drifted),
            "repaired": len(self.repaired),
            "failed": len(self.failed),
            "tenants": {
                "drifted": dict(list(self.drifted.items())[:_NAMED]),
                "repaired": dict(list(self.repaired.items())[:_NAMED]),
                "failed": dict(list(self.failed.items())[:_NAMED]),
            },
        }


def _silent(_: Progress) -> None: ...


async def verify_all(
    database: Database,
    expected: ExpectedTenants,
    *,
    progress: Callable[[Progress], None] = _silent,
    between: Callable[[Progress], Awaitable[None]] = go_on,
) -> Fleet:
    """Every tenant that has a schema; what was found of each is kept. What `between` raises stops it there."""
    fleet = Fleet()

    async def one(tenant_id: str) -> None:
        await _verify(database, expected, tenant_id, fleet)

    await _each(database, _VERIFIED, one, fleet, progress=progress, between=between)
    return fleet


async def repair_all(
    database: Database,
    expected: ExpectedTenants,
    *,
    drop_extra: bool,
    origin: Origin,
    progress: Callable[[Progress], None] = _silent,
    between: Callable[[Progress], Awaitable[None]] = go_on,
    guard: Callable[[Connection], Awaitable[None]] | None = None,
) -> Fleet:
    """Every tenant that is active or suspended, where it is not as expected. One that cannot be mended stops none."""
    fleet = Fleet()
    guarded = {} if guard is None else {"guard": guard}

    async def one(tenant_id: str) -> None:
        if await _verify(database, expected, tenant_id, fleet):
            return
        done = await repairing.run(database, expected, tenant_id, drop_extra=drop_extra, origin=origin, **guarded)
        if any(done.repair.mended().values()):
            fleet.repaired[tenant_id] = done.as_json(tenant_id)
        if done.repair.after.ok:
            del fleet.drifted[tenant_id]
        else:
            fleet.drifted[tenant_id] = verifying.named(done.repair.after)
        done.require_whole(tenant_id)

    await _each(database, sorted(CHANGEABLE), one, fleet, progress=progress, between=between)
    return fleet


async def _verify(database: Database, expected: ExpectedTenants, tenant_id: str, fleet: Fleet) -> bool:
    verdict = await verifying.verify(database, expected, tenant_id)
    fleet.verified += 1
    difference = verdict.found.difference
    async with database.transaction() as conn:
        await verifying.keep(conn, verdict.subject, difference, verdict.found.fingerprint)
    if not difference.ok:
        fleet.drifted[tenant_id] = verifying.named(difference)
    return difference.ok


async def _each(
    database: Database,
    states: list[State],
    work: Callable[[str], Awaitable[None]],
    fleet: Fleet,
    *,
    progress: Callable[[Progress], None],
    between: Callable[[Progress], Awaitable[None]],
) -> None:
    async with database.connection() as conn:
        await schema.require_shared(conn)
        tenant_ids = await repair_queries.built(conn, [str(state) for state in states])
    for done, tenant_id in enumerate(tenant_ids, start=1):
        try:
            await work(tenant_id)
        except (TenantNotFound, TenantStateForbids):
            pass  # it has gone, or moved on, since
        except (Unavailable, operations.ClaimLost, operations.CancelRequested):
            raise  # no tenant's failure
        except AppError as error:
            if isinstance(error, Transient) and error.connection_lost:
                raise
            fleet.failed[tenant_id] = error.detail
        reached = Progress(step=tenant_id, done=done, total=len(tenant_ids))
        progress(reached)
        await between(reached)


async def request(
    conn: Connection,
    kind: Kind,
    *,
    parameters: dict[str, Any],
    operation_id: UUID,
    origin: Origin,
    retry_of: UUID | None = None,
) -> Operation:
    """A new operation, or the one of that kind that is queued or running. Raises SchemaNotInstalled, SchemaBusy."""
    await schema.require_accepting(conn)
    running = await operation_queries.unfinished(conn, kind)
    if running is not None:
        return running
    operation = await operations.request(
        conn, operation_id, kind, origin=origin, parameters=parameters, retry_of=retry_of
    )
    await record(conn, origin, kind, "accepted", parameters)
    return operation


async def again(conn: Connection, failed: Operation, new_id: UUID, origin: Origin) -> Operation:
    return await request(
        conn,
        Kind(failed.kind),
        parameters=failed.parameters,
        operation_id=new_id,
        origin=origin,
        retry_of=failed.id,
    )


async def record(conn: Connection, origin: Origin, kind: str, outcome: Outcome, after: dict[str, Any]) -> None:
    await audit.record(conn, origin, action=kind, target="tenants", outcome=outcome, after=after)
