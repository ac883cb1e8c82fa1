"""Rules of the versions that a tenant's row of tenant_config had: listing them, and going back to one."""

from typing import Final

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog import queries as catalog_queries
from app.catalog import service as catalog
from app.config import history_queries as queries
from app.config.model import Version
from app.config.queries import Refused
from app.db.pages import cut
from app.db.pool import Connection
from app.errors import Conflict, FieldError, Invalid, NotFound
from app.registry import queries as registry_queries
from app.registry import service as registry
from app.registry.model import Tenant

# The last of them only looks whether the row is what it was.
_TURNS: Final = 3


class VersionNotFound(NotFound):
    code = "version_not_found"
    title = "There is no such version"


class FeatureGone(Conflict):
    code = "feature_gone"
    title = "The version has a feature that is no longer in the catalogue"


class TierGone(Conflict):
    code = "tier_gone"
    title = "The version has a tier that is no longer in the catalogue"


class VersionRefused(Conflict):
    code = "version_refused"
    title = "The version is not valid any more"


async def page(conn: Connection, tenant: Tenant, *, before: int | None, size: int) -> tuple[list[Version], int | None]:
    """A page, the newest version first, and the key where the next page starts; None with the last one."""
    versions = await queries.page(conn, tenant.tenant_id, before=before, limit=size + 1)
    return cut(versions, size, lambda last: last.key)


async def rollback(conn: Connection, tenant: Tenant, version: int, *, reason: str | None, origin: Origin) -> Version:
    """Makes a new version that is equal to an old one, but for what follows the tenant's state; returns the newest.

    `tenant` is locked. Where nothing would be different there is no new version. Raises TenantStateForbids,
    VersionNotFound, FeatureGone, TierGone, VersionRefused, and Invalid for a reason that holds credentials.
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
    key, tier, features = found
    await _require_known(conn, tenant, version, tier=tier, features=features)
    try:
        changed = await _restore(conn, tenant, key, version=version, reason=reason, origin=origin)
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
            before={
                "version": newest.version - 1,
                "values": {one.pointer: one.before[0] for one in newest.difference if one.before},
            },
            after={
                "version": newest.version,
                "restored_version": version,
                "reason": reason,
                "values": {one.pointer: one.after[0] for one in newest.difference if one.after},
            },
        )
    return newest


async def _require_known(conn: Connection, tenant: Tenant, version: int, *, tier: str, features: list[str]) -> None:
    """Raises FeatureGone and TierGone."""
    gone = sorted(set(features) - await catalog_queries.feature_names(conn)) if features else []
    if gone:
        raise FeatureGone(
            f"Version {version} has {' and '.join(gone)} enabled, which the catalogue does not have.", features=gone
        )
    if tier != tenant.subscription_tier and await catalog.wrong_tier(conn, tier):
        raise TierGone(f"Version {version} has the tier {tier}, which the catalogue does not have.", tier=tier)


async def _restore(
    conn: Connection, tenant: Tenant, key: int, *, version: int, reason: str | None, origin: Origin
) -> bool:
    """Whether anything is different now. Another tier may bring other values with it: those are put back as well.

    Raises Refused.
    """
    for turn in range(_TURNS):
        if not await queries.restore(conn, tenant.tenant_id, key, version=version, reason=reason, actor=origin.actor):
            return turn > 0
    raise Refused
