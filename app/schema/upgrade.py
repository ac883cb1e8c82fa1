"""The whole upgrade: files in one transaction, then each existing tenant in one of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from app.db.pool import Database
from app.db.retry import retrying
from app.errors import AppError, Transient, Unavailable
from app.log import logger
from app.schema import queries, script, service
from app.schema.expected import ExpectedTenants
from app.schema.script import Layer, Migration, Target

_log = logger(__name__)
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`done` of `total` tenants; `step` names what was just finished."""

    step: str
    done: int = 0
    total: int = 0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """`failed` maps tenant ids to what went wrong with each; the others are up to date all the same.

    `warnings` are PostgreSQL's: what works less well than it could, and the statement that mends it.
    """

    applied: list[str] = field(default_factory=list)
    upgraded: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def _ignore(_: Progress) -> None: ...


async def go_on(_: Progress) -> None:
    """Between two items: nothing to tell, and nobody to ask whether to stop."""


async def run(
    database: Database,
    migrations: Sequence[Migration],
    target: Target,
    *,
    layers: Sequence[Layer] = script.LAYERS,
    progress: Callable[[Progress], None] = _ignore,
    between: Callable[[Progress], Awaitable[None]] = go_on,
) -> Outcome:
    """Brings the database up to date; run again, it does nothing.

    One tenant's failure stops no other: it is reported, and the next run tries it again. What `between`
    raises, awaited after each tenant, stops it there.
    """
    outcome = Outcome()
    applied, outcome.warnings = await retrying(lambda: _install(database, migrations, target, layers))
    for migration in applied:
        outcome.applied.append(migration.path)
        progress(Progress(step=migration.path))
    if "tenant" not in layers:
        return outcome
    await _keep_roles(database, target, outcome)
    expected = ExpectedTenants(database, migrations)
    tenant_ids = [tenant_id async for tenant_id in _outdated(database)]
    for done, tenant_id in enumerate(tenant_ids, start=1):
        await _bring_along(database, expected, tenant_id, outcome)
        reached = Progress(step=tenant_id, done=done, total=len(tenant_ids))
        progress(reached)
        await between(reached)
    return outcome


async def _install(
    database: Database, migrations: Sequence[Migration], target: Target, layers: Sequence[Layer]
) -> tuple[list[Migration], list[str]]:
    async with database.transaction() as conn:
        with queries.warnings(conn) as warnings:
            return await service.install(conn, migrations, target, layers=layers), warnings


async def _outdated(database: Database) -> AsyncIterator[str]:
    after = ""
    while True:
        async with database.connection() as conn:
            page = await queries.outdated(conn, after=after, limit=_PAGE)
        for tenant_id in page:
            yield tenant_id
        if len(page) < _PAGE:
            return
        after = page[-1]


async def _keep_roles(database: Database, target: Target, outcome: Outcome) -> None:
    """Each tenant gets its role, or loses it, where BF_TENANT_ROLES has changed; before it is compared."""
    after = ""
    while True:
        async with database.connection() as conn:
            page = await queries.other_roles(conn, wanted=target.tenant_roles, after=after, limit=_PAGE)
        for tenant_id in page:
            await _one_tenant(outcome, tenant_id, lambda tenant_id=tenant_id: _keep_role(database, tenant_id))  # type: ignore[misc]
        if len(page) < _PAGE:
            return
        after = page[-1]


async def _keep_role(database: Database, tenant_id: str) -> None:
    async with database.transaction() as conn:
        await conn.execute("SET LOCAL lock_timeout = '5s'")
        await queries.keep_tenant_role(conn, tenant_id)


async def _bring_along(database: Database, expected: ExpectedTenants, tenant_id: str, outcome: Outcome) -> None:
    async def once() -> None:
        async with database.connection() as conn:
            latest = await service.require_shared(conn)
        await expected.prepare(latest)
        async with database.transaction() as conn:
            await service.upgrade_tenant(conn, expected, tenant_id)

    if await _one_tenant(outcome, tenant_id, once):
        outcome.upgraded.append(tenant_id)


async def _one_tenant(outcome: Outcome, tenant_id: str, once: Callable[[], Awaitable[None]]) -> bool:
    """Whether it went well: what is wrong with one tenant is reported, and stops no other."""
    try:
        await retrying(once)
    except Unavailable:
        raise  # no tenant's failure: the database is away, and the whole upgrade is tried again
    except AppError as error:
        if isinstance(error, Transient) and error.connection_lost:
            raise
        _log.warning("tenant_upgrade_failed", tenant_id=tenant_id, reason=error.detail)
        outcome.failed[tenant_id] = error.detail
        return False
    return True
