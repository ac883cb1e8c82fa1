"""Rules of the features of tenants."""

from collections.abc import Mapping

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog.nearest import unknown
from app.catalog.service import FeatureNotFound
from app.db.pool import Connection
from app.errors import Conflict, FieldError, Invalid
from app.features import model, queries
from app.features.model import TenantFeature
from app.registry import service as registry
from app.registry.model import Tenant


class FeatureRequires(Conflict):
    code = "feature_requires"
    title = "A feature that it requires is not enabled"


class FeatureRequired(Conflict):
    code = "feature_required"
    title = "An enabled feature requires it"


async def override(
    conn: Connection, tenant: Tenant, name: str, *, enabled: bool, origin: Origin
) -> list[TenantFeature]:
    """Makes the feature the tenant's own, on or off; `tenant` is locked. The features as they are then.

    Raises Invalid for one that the catalogue does not know, FeatureRequires, FeatureRequired, TenantStateForbids.
    """
    registry.require_changeable(tenant)
    features = await queries.of_tenant(conn, tenant.tenant_id)
    before = _find(features, name)
    if before is None or not before.known:
        known = [feature.name for feature in features if feature.known]
        raise Invalid(
            "The request is not valid; see errors.",
            errors=[FieldError(pointer="path/name", detail=unknown(name, known))],
        )
    if before.source == "tenant" and before.enabled is enabled:
        return features
    return await _set(conn, tenant, before, features, enabled=enabled, origin=origin)


async def reset(conn: Connection, tenant: Tenant, name: str, *, origin: Origin) -> list[TenantFeature]:
    """The tier, or the default, decides again; `tenant` is locked. The features as they are then.

    Raises FeatureNotFound, FeatureRequires, FeatureRequired, TenantStateForbids.
    """
    registry.require_changeable(tenant)
    features = await queries.of_tenant(conn, tenant.tenant_id)
    before = _find(features, name)
    if before is None:
        raise FeatureNotFound("Neither the catalogue nor the tenant has such a feature.")
    if before.source != "tenant":
        return features
    return await _set(conn, tenant, before, features, enabled=None, origin=origin)


async def set_many(
    conn: Connection, tenant: Tenant, wanted: Mapping[str, bool | None], *, origin: Origin
) -> list[TenantFeature]:
    """Overrides those that are True or False, and resets those that are None; `tenant` is locked. As they were.

    What they require is the caller's to look at, once all is done: require_no_more_missing(). Raises
    TenantStateForbids, and Invalid for names that neither the catalogue nor the tenant knows.
    """
    registry.require_changeable(tenant)
    features = before = await queries.of_tenant(conn, tenant.tenant_id)
    for name, enabled in wanted.items():
        found = _find(features, name)
        if found is None or not (found.known or enabled is None):
            raise Invalid("The request is not valid; see errors.", errors=[_unknown(name, features)])
        own = found.enabled if found.source == "tenant" else None
        if own is not enabled:
            features = await _store(conn, tenant, found, enabled=enabled, origin=origin)
    return before


def _unknown(name: str, features: list[TenantFeature]) -> FieldError:
    known = [feature.name for feature in features if feature.known]
    return FieldError(pointer=f"/features/{name}", detail=unknown(name, known))


async def _set(
    conn: Connection,
    tenant: Tenant,
    before: TenantFeature,
    features: list[TenantFeature],
    *,
    enabled: bool | None,
    origin: Origin,
) -> list[TenantFeature]:
    changed = await _store(conn, tenant, before, enabled=enabled, origin=origin)
    require_no_more_missing(features, changed)
    return changed


async def _store(
    conn: Connection, tenant: Tenant, before: TenantFeature, *, enabled: bool | None, origin: Origin
) -> list[TenantFeature]:
    await queries.set_feature(conn, tenant.tenant_id, before.name, enabled=enabled, actor=origin.actor)
    changed = await queries.of_tenant(conn, tenant.tenant_id)
    after = _find(changed, before.name)
    await audit.record(
        conn,
        origin,
        action="tenant.change_feature",
        target=f"tenant/{tenant.tenant_id}",
        outcome="succeeded",
        before=_said(before),
        after=None if after is None else _said(after),
    )
    return changed


def require_no_more_missing(before: list[TenantFeature], after: list[TenantFeature]) -> None:
    """Raises FeatureRequires or FeatureRequired where a change leaves a feature without what it requires.

    What plain SQL had parted already may stay so.
    """
    known = model.missing(before)
    was = {feature.name for feature in before if feature.enabled}
    for name, lacking in model.missing(after).items():
        new = [required for required in lacking if required not in known.get(name, ())]
        if not new:
            continue
        if name in was:
            raise FeatureRequired(
                f"{name} is enabled and requires {' and '.join(new)}; disable {name} first.",
                feature=name,
                requires=new,
            )
        raise FeatureRequires(f"{name} requires {' and '.join(new)}, to be enabled first.", feature=name, requires=new)


def _find(features: list[TenantFeature], name: str) -> TenantFeature | None:
    return next((feature for feature in features if feature.name == name), None)


def _said(feature: TenantFeature) -> dict[str, object]:
    return {"feature": feature.name, "enabled": feature.enabled, "source": feature.source}
