"""Rules of the versions that a tenant's row of tenant_config had: listing them, and going back to one."""

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog import service as catalog
from app.config import history_queries as queries
from app.config.model import Version
from app.config.queries import Refused
from app.db.pool import Connection
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.registry import queries as registry_queries
from app.registry import service as registry
from app.registry.model import Tenant


class VersionNotFound(NotFound):
    code = "version_not_found"
    title = "There is no such version"


class TierGone(Conflict):
    code = "tier_gone"
    title = "The version has a tier that is no longer in the catalogue"


class VersionRefused(Conflict):
    code = "version_refused"
    title = "The version is not valid any more"


async def page(conn: Connection, tenant: Tenant, *, before: int | None, size: int) -> tuple[list[Version], int | None]:
    """A page, the newest version first, and the key where the next page starts; None with the last one."""
    versions = await queries.page(conn, tenant.tenant_id, before=before, limit=size + 1)
    return versions[:size], versions[size - 1].key if len(versions) > size else None


async def rollback(conn: Connection, tenant: Tenant, version: int, *, reason: str | None, origin: Origin) -> Version:
    """Makes a new version that is equal to an old one, but for what follows the tenant's state; returns the newest.

    `tenant` is locked. Where nothing would be different there is no new version. Raises TenantStateForbids,
    VersionNotFound, TierGone, VersionRefused, and Invalid for a reason that holds credentials.
    """
    registry.require_changeable(tenant)
    if reason is not None and await registry_queries.credentials_in(conn, {"reason": reason}):
        raise Invalid(
            "The request is not valid; see errors.",
            errors=[FieldError(pointer="/reason", detail="must not hold credentials")],
        )
    found = await queries.find(conn, tenant.tenant_id, version)
    if found is None:
        raise VersionNotFound(f"Tenant {tenant.tenant_id} has no version {version}.")
    key, tier, _ = found
    await _require_tier(conn, tenant, version, tier)
    try:
        changed = await queries.restore(conn, tenant.tenant_id, key, version=version, reason=reason, actor=origin.actor)
    except Refused:
        raise VersionRefused(f"Version {version} holds values that are not taken any more.") from None
    newest = (await queries.page(conn, tenant.tenant_id, before=None, limit=1))[0]
    if changed:
        await audit.record(
            conn,
            origin,
            action="tenant.rollback",
            target=f"tenant/{tenant.tenant_id}",
            outcome="succeeded",
            before={"version": newest.version - 1},
            after={"version": newest.version, "restored_version": version, "reason": reason},
        )
    return newest


async def _require_tier(conn: Connection, tenant: Tenant, version: int, tier: str) -> None:
    if tier != tenant.subscription_tier and await catalog.wrong_tier(conn, tier):
        raise TierGone(f"Version {version} has the tier {tier}, which is no longer in the catalogue.", tier=tier)
