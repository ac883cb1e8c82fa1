"""Rules of limits: reading and changing them, and the catalogue of them."""

from collections.abc import Mapping, Sequence

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog import queries as catalog
from app.catalog.nearest import unknown
from app.db.pool import Connection
from app.errors import FieldError, Invalid, NotFound
from app.limits import model, queries
from app.limits.model import COLUMN_RANGES, COLUMNS, ENFORCEABLE, Enforcement, Limit, Source, TenantLimits
from app.registry import service as registry
from app.registry.model import Tenant
from app.registry.service import TenantStateForbids


class LimitNotFound(NotFound):
    code = "limit_not_found"
    title = "Limit not found"


# of tenants ------------------------------------------------------------------------------------------


async def get(conn: Connection, tenant: Tenant) -> TenantLimits:
    """Raises TenantStateForbids until the tenant has a configuration."""
    settings = await queries.settings(conn, tenant.tenant_id) if tenant.schema_version is not None else None
    if settings is None:
        raise TenantStateForbids(
            f"Tenant {tenant.tenant_id} is {tenant.state}; it has no limits until it is active.", state=tenant.state
        )
    return model.tenant_limits(
        await queries.catalogue(conn),
        tier=settings["subscription_tier"],
        columns={name: settings[name] for name in COLUMNS},
        usage_limits=settings["usage_limits"],
        own=await queries.own(conn, tenant.tenant_id),
    )


async def change(
    conn: Connection, tenant: Tenant, changes: Mapping[str, int | None], *, before: TenantLimits, origin: Origin
) -> TenantLimits:
    """Sets those in `changes`, None going back to the tier's or the default; `tenant` is locked, and has `before`.

    A limit may be lower than what is used of it: there is no more then. Raises TenantStateForbids and Invalid.
    """
    registry.require_changeable(tenant)
    errors = wrong(await queries.catalogue(conn), changes)
    if errors:
        raise Invalid("The request is not valid; see errors.", errors=errors)
    wanted = {name: value for name, value in changes.items() if _differs(before, name, value)}
    if not wanted:
        return before
    await queries.change(conn, tenant.tenant_id, wanted, actor=origin.actor)
    after = await get(conn, tenant)
    await audit.record(
        conn,
        origin,
        action="tenant.limits.change",
        target=f"tenant/{tenant.tenant_id}",
        outcome="succeeded",
        before=_told(before, wanted),
        after=_told(after, wanted),
    )
    return after


def _differs(limits: TenantLimits, name: str, value: int | None) -> bool:
    now = limits.given[name]
    if value is None:
        return now.source is Source.TENANT
    return (now.value, now.source) != (value, Source.TENANT)


def _told(limits: TenantLimits, names: Mapping[str, object]) -> dict[str, object]:
    return {name: {"value": limits.given[name].value, "source": limits.given[name].source} for name in names}


def wrong(catalogue: Sequence[Limit], changes: Mapping[str, int | None], *, pointer: str = "") -> list[FieldError]:
    """What the database would refuse: names that are no limits, values out of their range."""
    known = {limit.name: limit for limit in catalogue}
    errors = []
    for name, value in changes.items():
        if name not in known:
            errors.append(FieldError(pointer=f"{pointer}/{name}", detail=unknown(name, known)))
        elif value is not None and not known[name].minimum <= value <= known[name].maximum:
            detail = f"must be from {known[name].minimum} to {known[name].maximum}"
            errors.append(FieldError(pointer=f"{pointer}/{name}", detail=detail))
    return errors


async def wrong_values(conn: Connection, values: Mapping[str, int], *, at: str) -> list[FieldError]:
    """What is wrong with `values` that a tenant is to be created with; `at` is where the request has them."""
    return wrong(await queries.catalogue(conn), values, pointer=at) if values else []


async def exceeded(conn: Connection, tenant: Tenant, limits: TenantLimits) -> list[str]:
    """Names of the limits of which more is used than there is, as far as counters tell."""
    used = await queries.counters(conn, tenant.tenant_id)
    return sorted(
        name for name, value in limits.effective.items() if value.value is not None and used.get(name, 0) > value.value
    )


# the catalogue ---------------------------------------------------------------------------------------


async def require(conn: Connection, name: str) -> Limit:
    """Raises LimitNotFound."""
    found = await queries.catalogue(conn, name)
    if not found:
        raise LimitNotFound("There is no such limit.")
    return found[0]


async def find(conn: Connection, name: str, *, lock: bool = False) -> Limit | None:
    """To `lock` keeps others from changing the catalogue until the transaction ends."""
    if lock:
        await queries.lock(conn)
    return next(iter(await queries.catalogue(conn, name)), None)


async def define(conn: Connection, limit: Limit, *, before: Limit | None, origin: Origin) -> None:
    """Adds it to the catalogue, or changes it, in place of `before`, which is locked. Raises Invalid.

    Tenants that have no value of their own have the new default, or their tier's, from then on.
    """
    errors = await wrong_definition(conn, limit)
    if errors:
        raise Invalid("The request is not valid; see errors.", errors=errors)
    if limit == before:
        return
    await queries.define(conn, limit)
    if before is not None and (limit.default, limit.tiers) != (before.default, before.tiers):
        await queries.hand_down(conn, limit.name, actor=origin.actor)
    await audit.record(
        conn,
        origin,
        action="catalog.limit.change",
        target=f"limit/{limit.name}",
        outcome="succeeded",
        before=None if before is None else _as_json(before),
        after=_as_json(limit),
    )


def _as_json(limit: Limit) -> dict[str, object]:
    return {
        "description": limit.description,
        "unit": limit.unit,
        "minimum": limit.minimum,
        "maximum": limit.maximum,
        "default": limit.default,
        "tiers": dict(limit.tiers),
        "enforcement": limit.enforcement,
    }


async def wrong_definition(conn: Connection, limit: Limit) -> list[FieldError]:
    """What define() would refuse."""
    errors = _wrong_range(limit)
    tiers = await catalog.tier_names(conn)
    for name, pointer, value in (
        ("default", "/default", limit.default),
        *((tier, f"/tiers/{tier}", value) for tier, value in limit.tiers.items()),
    ):
        if pointer != "/default" and name not in tiers:
            errors.append(FieldError(pointer=pointer, detail=unknown(name, tiers)))
        elif value is not None and not limit.minimum <= value <= limit.maximum:
            errors.append(FieldError(pointer=pointer, detail=f"must be from {limit.minimum} to {limit.maximum}"))
    if limit.default is None and limit.name in COLUMNS:
        errors.append(FieldError(pointer="/default", detail="must be a number: tenant_config has a column for it"))
    if limit.enforcement is not Enforcement.OFF and limit.name not in ENFORCEABLE:
        detail = "must be off: the database does not see how much is used while it grows"
        errors.append(FieldError(pointer="/enforcement", detail=detail))
    return errors


def _wrong_range(limit: Limit) -> list[FieldError]:
    lowest, highest = COLUMN_RANGES.get(limit.name, (0, model.CEILING))
    errors = []
    if limit.minimum < lowest:
        errors.append(FieldError(pointer="/minimum", detail=f"must be at least {lowest}"))
    if limit.maximum > highest:
        errors.append(FieldError(pointer="/maximum", detail=f"must be at most {highest}"))
    if limit.maximum < limit.minimum:
        errors.append(FieldError(pointer="/maximum", detail="must not be less than the minimum"))
    return errors
