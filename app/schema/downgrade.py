"""Removing exactly what was installed: one tenant a transaction, then the shared schema, then our own.

Nothing is dropped with CASCADE. What somebody else keeps in our schemas, or hangs on our tables, is found
before anything is dropped, and stops PostgreSQL itself should it appear meanwhile.
"""

from collections.abc import Awaitable, Callable, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from app.db.pool import Connection, Database
from app.db.retry import retrying
from app.errors import Conflict
from app.plans.model import Intent
from app.schema import downgrade_sql, files, queries, script
from app.schema.script import Down, Target
from app.schema.upgrade import Progress, go_on


class DowngradeBlocked(Conflict):
    """Something that is not ours would go, or stand in the way."""

    code = "downgrade_blocked"
    title = "Something that is not ours stands in the way"


# Id, schema, time of creation, and whether it was built; as JSON in the operation that confirms it.
Identity: TypeAlias = tuple[str, str, str, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLoss:
    """`size` is in bytes, indexes and TOAST included; `rows` is an estimate; `built`: there is a schema."""

    tenant_id: str
    schema_name: str
    tables: int
    rows: int
    size: int
    created_at: str
    built: bool

    @property
    def identity(self) -> Identity:
        """Another one where the tenant was built since, or is another tenant of the same id."""
        return self.tenant_id, self.schema_name, self.created_at, self.built


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a downgrade would drop. `blockers` are in the words of PostgreSQL."""

    database: str
    installed: bool
    tenants: tuple[TenantLoss, ...] = ()
    blockers: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return sum(tenant.size for tenant in self.tenants)

    def intent(self, document: dict[str, Any]) -> Intent:
        """What confirms it: the same tenants of the same database. `document` tells of it."""
        bound = [self.database, [tenant.identity for tenant in self.tenants]]
        return Intent(action="schema.downgrade", target="schema", bound=bound, document=document)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """`roles_kept` maps roles to why they stay."""

    tenants: list[str] = field(default_factory=list)
    roles_dropped: list[str] = field(default_factory=list)
    roles_kept: dict[str, str] = field(default_factory=dict)


async def plan(conn: Connection, target: Target, *, measure: bool = True) -> Plan:
    """Raises DatabaseError where the database was made with other settings.

    Not to `measure` is for whoever cannot wait: sizes are then PostgreSQL's estimates, from the last VACUUM
    or ANALYZE.
    """
    database = str(await conn.fetchval(downgrade_sql.DATABASE))
    if not await queries.installed(conn):
        return Plan(database=database, installed=False)
    await queries.check_release(conn, target.settings())
    down = script.load_down(files.root())
    sizes = await conn.fetch(downgrade_sql.SIZES if measure else downgrade_sql.SIZES_ESTIMATED)
    blockers = await conn.fetch(script.fill_downgrade(downgrade_sql.BLOCKERS, target, down))
    return Plan(
        database=database,
        installed=True,
        tenants=tuple(
            TenantLoss(
                tenant_id=row["tenant_id"],
                schema_name=row["schema_name"],
                tables=row["tables"],
                rows=row["rows"],
                size=row["bytes"],
                created_at=row["created_at"],
                built=row["built"],
            )
            for row in sizes
        ),
        blockers=tuple(row["blocker"] for row in blockers),
    )


def _ignore(_: Progress) -> None: ...


async def _nobody_else(_: Connection) -> None:
    """The command line's guard: there is no claim that it could lose."""


async def run(
    database: Database,
    target: Target,
    *,
    confirmed: Set[Identity] | None = None,
    keep_control: bool = False,
    guard: Callable[[Connection], Awaitable[None]] = _nobody_else,
    progress: Callable[[Progress], None] = _ignore,
    between: Callable[[Progress], Awaitable[None]] = go_on,
) -> Outcome:
    """Drops everything; to `keep_control`, everything but bf_control and bf_queue, and what they know of it all.

    `guard` is awaited last in each transaction that drops: what it raises rolls that back. `confirmed` are the
    identities of the tenants that may go. Cut short, it goes on where it stopped when it is run again. Raises
    DowngradeBlocked for a tenant that is not confirmed, before anything is dropped, and for one that was built
    meanwhile; DatabaseError where PostgreSQL refuses later. What `between` raises, awaited after each tenant,
    stops it there.
    """
    async with database.transaction() as conn:
        for statement in script.opening():
            await conn.execute(statement)
        planned = await plan(conn, target)
    if planned.blockers:
        raise DowngradeBlocked(
            f"{len(planned.blockers)} things that are not ours stand in the way; move or drop them first: "
            + "; ".join(planned.blockers[:10])
        )
    if confirmed is not None and (others := [t for t in planned.tenants if t.identity not in confirmed]):
        raise DowngradeBlocked(f"{len(others)} tenants are not as the plan said, or not in it: make a new one.")
    outcome = Outcome()
    if not planned.installed:
        return outcome
    down = script.load_down(files.root())
    for done, tenant in enumerate(planned.tenants, start=1):
        await retrying(lambda tenant=tenant: _drop_tenant(database, down, tenant, guard))  # type: ignore[misc]
        outcome.tenants.append(tenant.tenant_id)
        reached = Progress(step=tenant.schema_name, done=done, total=len(planned.tenants))
        progress(reached)
        await between(reached)
    await retrying(lambda: _drop(database, target, down, outcome, guard, keep_control=keep_control))
    return outcome


async def _drop_tenant(
    database: Database, down: Down, tenant: TenantLoss, guard: Callable[[Connection], Awaitable[None]]
) -> None:
    async with database.transaction() as conn:
        await _execute(conn, script.opening())
        found = await queries.lock_tenant(conn, tenant.tenant_id) if await queries.installed(conn) else None
        if found is None:  # whoever else runs a downgrade was first
            return
        schema_name, _, built = found
        if (tenant.tenant_id, *found) != tenant.identity:
            raise DowngradeBlocked(f"Tenant {tenant.tenant_id} is not as the plan said: make a new one.")
        if built:  # else a schema of that name would be somebody else's
            await _execute(conn, script.drop_tenant(down, schema_name))
        await queries.forget_tenant(conn, tenant.tenant_id, built=built)
        await guard(conn)


async def _drop(
    database: Database,
    target: Target,
    down: Down,
    outcome: Outcome,
    guard: Callable[[Connection], Awaitable[None]],
    *,
    keep_control: bool,
) -> None:
    """Shared schema; then, unless they are kept, our own, and the roles that nothing else needs: one commit."""
    async with database.transaction() as conn:
        await _execute(conn, script.opening())
        if not await queries.installed(conn):
            return
        if await queries.lock_registry(conn):
            raise DowngradeBlocked(
                "A tenant was made meanwhile: make a new plan, or stop the service and run the downgrade again."
            )
        if await conn.fetchval(script.SHARED_EXISTS):
            await _execute(conn, script.drop_shared(down, target))
        await guard(conn)
        if keep_control:
            return
        await _execute(conn, script.drop_control(down))
        for row in await conn.fetch(script.fill_downgrade(downgrade_sql.ROLES, target, down)):
            reason = row["reason"] or await _drop_role(conn, row["role_name"])
            if reason is None:
                outcome.roles_dropped.append(row["role_name"])
            else:
                outcome.roles_kept[row["role_name"]] = reason


async def _drop_role(conn: Connection, role_name: str) -> str | None:
    """Why it could not be dropped: somebody may have begun to use it since the question was asked."""
    try:
        async with conn.transaction():
            await queries.drop_role(conn, role_name)
    except queries.Refused as error:
        return str(error)
    return None


async def _execute(conn: Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        await conn.execute(statement)
