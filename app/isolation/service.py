"""Whether every tenant is held apart: asked at the start of each process, and hourly by one of them."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from time import monotonic
from typing import Final

from app.db.pool import Connection, Database
from app.errors import Conflict
from app.isolation import queries
from app.isolation.model import Fault, Kind, Report, ordered
from app.log import logger
from app.schema import service as schema
from app.schema.script import Target
from app.schema.service import SchemaNotInstalled

_log = logger(__name__)
HOURLY: Final = timedelta(hours=1)
# Tenants a query: about 20 ms, so that nobody waits for it.
_SLICE: Final = 100
# Faults that are kept, and shown.
_KEPT: Final = 100
_TOLD: Final = 3


class IsolationBroken(Conflict):
    code = "isolation_broken"
    title = "Tenants are not held apart"


async def check(database: Database, target: Target, *, pause: float = 0) -> Report:
    """Looks at roles and at every tenant, in slices with a pause of so many seconds between, and keeps what it finds.

    Raises SchemaNotInstalled where there is nothing to look at.
    """
    begun = monotonic()
    async with database.connection() as conn:
        await schema.require_installed(conn)
        faults = [*await _general(conn, target), *await queries.orphans(conn)]
    tenants, after = 0, ""
    while True:
        async with database.transaction() as conn:
            tenant_ids = await queries.slice_after(conn, after, limit=_SLICE)
            faults += await _of(conn, tenant_ids, target)
        tenants += len(tenant_ids)
        if len(tenant_ids) < _SLICE:
            break
        after = tenant_ids[-1]
        await asyncio.sleep(pause)
    found = ordered(faults)
    async with database.transaction() as conn:
        report = await queries.record(
            conn,
            duration_ms=round((monotonic() - begun) * 1000),
            tenants=tenants,
            fault_count=len(found),
            faults=found[:_KEPT],
        )
    for fault in found[:_KEPT]:
        level = _log.critical if fault.opens else _log.warning
        level("isolation_fault", kind=fault.kind, tenant_id=fault.tenant_id, reason=fault.reason, mend=fault.mend)
    return report


async def check_due(database: Database, target: Target) -> Report | None:
    """The hourly check, where it is due and no other process makes it."""
    async with database.transaction() as conn:
        if not await queries.claim(conn, HOURLY):
            return None
    try:
        return await check(database, target, pause=0.1)
    except SchemaNotInstalled:
        return None


async def require(database: Database, target: Target, *, allow_unsafe: bool) -> None:
    """What a process asks before it serves: roles in any case, tenants unless somebody has just looked at them.

    Raises IsolationBroken, with what mends it, unless that is allowed: then it is said in the log alone.
    """
    async with database.connection() as conn:
        try:
            await schema.require_installed(conn)
        except SchemaNotInstalled:
            return
        faults: Sequence[Fault] = await _general(conn, target)
        known = await queries.last(conn) if await queries.fresh(conn, HOURLY) else None
    if known is None or not known.safe:
        known = await check(database, target)
    broken = [fault for fault in (*faults, *known.faults) if fault.opens]
    if not broken:
        return
    told = "; ".join(dict.fromkeys(f"{fault.reason} ({fault.mend})" for fault in broken[:_TOLD]))
    if allow_unsafe:
        _log.critical("unsafe", reason=told, faults=known.fault_count)
        return
    raise IsolationBroken(
        f"Tenants are not held apart: {told}. All of it: bf-admin isolation check. To start all the same: "
        "BF_ALLOW_UNSAFE=true."
    )


async def _general(conn: Connection, target: Target) -> list[Fault]:
    """What concerns all tenants."""
    ways = await queries.bypass(conn, app_role=target.app_role, audit_role=target.audit_role)
    found = [Fault(kind=Kind.ROLE, tenant_id=None, reason=way, mend=mend) for way, mend in ways]
    return found + (await queries.open_shared(conn, target.shared_schema) if target.enable_rls else [])


async def _of(conn: Connection, tenant_ids: Sequence[str], target: Target) -> list[Fault]:
    return await queries.open_tenants(
        conn,
        tenant_ids,
        app_role=target.app_role,
        audit_role=target.audit_role,
        shared_schema=target.shared_schema,
        rls=target.enable_rls,
    )
