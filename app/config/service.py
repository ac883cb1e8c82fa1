"""Rules of the configuration document: reading it, replacing it, merging into it."""

from typing import Any

from app.audit import service as audit
from app.audit.model import Origin
from app.config import queries
from app.config.model import DEFAULTS, TenantSettings, differences
from app.db.pool import Connection
from app.errors import FieldError, Invalid, NotFound
from app.registry import model
from app.registry import service as registry
from app.registry.model import Tenant
from app.registry.service import TenantNotFound


class ConfigurationNotFound(NotFound):
    code = "configuration_not_found"
    title = "The tenant has no configuration"


async def require(conn: Connection, tenant_id: str) -> TenantSettings:
    """Raises TenantNotFound, and ConfigurationNotFound until the tenant has a schema."""
    try:
        wanted = model.tenant_id(tenant_id)
    except ValueError:
        raise TenantNotFound from None
    found, settings = await queries.read(conn, wanted)
    if not found:
        raise TenantNotFound
    if settings is None:
        raise ConfigurationNotFound(f"Tenant {tenant_id} has a configuration once it has a schema.")
    return settings


async def replace(
    conn: Connection, tenant: Tenant, before: TenantSettings, values: dict[str, Any], *, origin: Origin
) -> TenantSettings:
    """The document becomes `values`, and the defaults of what is not among them. `tenant` is locked.

    Raises TenantStateForbids, and Invalid.
    """
    return await _change(conn, tenant, before, replaced={**DEFAULTS, **values}, merged={}, origin=origin)


async def merge(
    conn: Connection, tenant: Tenant, before: TenantSettings, patch: dict[str, Any], *, origin: Origin
) -> TenantSettings:
    """JSON Merge Patch, where what is removed from the document has its default again. As replace()."""
    replaced = {name: DEFAULTS[name] if value is None else value for name, value in patch.items()}
    merged = {name: value for name, value in patch.items() if isinstance(value, dict)}
    for name in merged:
        del replaced[name]
    return await _change(conn, tenant, before, replaced=replaced, merged=merged, origin=origin)


async def _change(
    conn: Connection,
    tenant: Tenant,
    before: TenantSettings,
    *,
    replaced: dict[str, Any],
    merged: dict[str, Any],
    origin: Origin,
) -> TenantSettings:
    registry.require_changeable(tenant)
    if errors := await wrong_values(conn, {**replaced, **merged}, known=before.configuration):
        raise Invalid("The request is not valid; see errors.", errors=errors)
    try:
        changed = await queries.change(conn, tenant.tenant_id, replaced=replaced, merged=merged, actor=origin.actor)
    except queries.Refused:
        raise Invalid("The database does not take a value that is part of this configuration.") from None
    if not changed:
        return before
    after = await require(conn, tenant.tenant_id)
    names = sorted({d.pointer.split("/")[1] for d in differences(before.configuration, after.configuration)})
    await audit.record(
        conn,
        origin,
        action="tenant.configure",
        target=f"tenant/{tenant.tenant_id}",
        outcome="succeeded",
        before={name: before.configuration[name] for name in names},
        after={name: after.configuration[name] for name in names},
    )
    return after


async def wrong_values(
    conn: Connection, values: dict[str, Any], *, known: dict[str, Any] | None = None, at: str = ""
) -> list[FieldError]:
    """What only the database knows of columns of tenant_config. Those that are as in `known` have been accepted."""
    asked = {name: value for name, value in values.items() if known is None or known.get(name) != value}
    if not asked:
        return []
    known_currency, known_time_zone, credentials = await queries.check(
        conn, currency=asked.get("default_currency"), time_zone=asked.get("time_zone"), values=asked
    )
    errors = []
    if not known_currency:
        errors.append(FieldError(pointer=f"{at}/default_currency", detail="is no ISO 4217 code"))
    if not known_time_zone:
        errors.append(FieldError(pointer=f"{at}/time_zone", detail="is no IANA time zone"))
    errors += [FieldError(pointer=f"{at}/{name}", detail="must not hold credentials") for name in credentials]
    return errors
