"""Rules of the catalogue: what there is to choose from."""

from dataclasses import asdict
from typing import Final

from app.audit import service as audit
from app.audit.model import Origin
from app.catalog import model, queries
from app.catalog.model import Feature, Tier
from app.catalog.nearest import unknown
from app.db.pool import Connection
from app.errors import FieldError, Invalid, NotFound

# It cannot be taken out of the catalogue.
DEFAULT_TIER: Final = "standard"


class FeatureNotFound(NotFound):
    code = "feature_not_found"
    title = "Feature not found"


class TierNotFound(NotFound):
    code = "tier_not_found"
    title = "Tier not found"


async def wrong_tier(conn: Connection, name: str, *, pointer: str = "/subscription_tier") -> list[FieldError]:
    """Nothing where the catalogue has the tier."""
    if name == DEFAULT_TIER:
        return []
    known = await queries.tier_names(conn)
    return [] if name in known else [FieldError(pointer=pointer, detail=unknown(name, known))]


async def unknown_features(conn: Connection, names: list[str], *, pointer: str) -> list[FieldError]:
    """Names that the catalogue does not have, of an object whose members they are."""
    known = {feature.name for feature in await queries.features(conn)} if names else set()
    return [FieldError(pointer=f"{pointer}/{name}", detail=unknown(name, known)) for name in names if name not in known]


async def wrong_features(conn: Connection, names: list[str], *, pointer: str = "/features_enabled") -> list[FieldError]:
    """Names that the catalogue does not have, and those that require another one which is not among them."""
    if not names:
        return []
    known = {feature.name: feature for feature in await queries.features(conn)}
    errors = []
    for position, name in enumerate(names):
        place = f"{pointer}/{position}"
        if name not in known:
            errors.append(FieldError(pointer=place, detail=unknown(name, known)))
            continue
        missing = [required for required in known[name].requires if required not in names]
        if missing:
            errors.append(FieldError(pointer=place, detail=f"requires {' and '.join(missing)}"))
    return errors


async def tier(conn: Connection, name: str) -> Tier | None:
    return next((found for found in await queries.tiers(conn) if found.name == name), None)


async def feature(conn: Connection, name: str) -> Feature | None:
    return next((found for found in await queries.features(conn) if found.name == name), None)


async def require_tier(conn: Connection, name: str) -> Tier:
    """Raises TierNotFound."""
    found = await tier(conn, name)
    if found is None:
        raise TierNotFound("There is no such tier in the catalogue.")
    return found


async def require_feature(conn: Connection, name: str) -> Feature:
    """Raises FeatureNotFound."""
    found = await feature(conn, name)
    if found is None:
        raise FeatureNotFound("There is no such feature in the catalogue.")
    return found


async def put_tier(conn: Connection, wanted: Tier, before: Tier | None, *, origin: Origin) -> None:
    """Adds or replaces a tier of the locked catalogue, and brings its tenants what follows. Raises Invalid."""
    if wanted == before:
        return
    _refuse(model.wrong_tier_rank(wanted, await queries.features(conn), await queries.tiers(conn)))
    await queries.put_tier(conn, wanted)
    await _record(conn, wanted, before, origin=origin)


async def put_feature(conn: Connection, wanted: Feature, before: Feature | None, *, origin: Origin) -> None:
    """Adds or replaces a feature of the locked catalogue, and brings tenants what follows. Raises Invalid."""
    if wanted == before:
        return
    _refuse(model.wrong_feature(wanted, await queries.features(conn), await queries.tiers(conn)))
    await queries.put_feature(conn, wanted)
    await _record(conn, wanted, before, origin=origin)


def _refuse(errors: list[FieldError]) -> None:
    if errors:
        raise Invalid("The request is not valid; see errors.", errors=errors)


async def _record(conn: Connection, wanted: Tier | Feature, before: Tier | Feature | None, *, origin: Origin) -> None:
    kind = "tier" if isinstance(wanted, Tier) else "feature"
    await audit.record(
        conn,
        origin,
        action=f"{kind}.create" if before is None else f"{kind}.change",
        target=f"{kind}/{wanted.name}",
        outcome="succeeded",
        before=None if before is None else asdict(before),
        after=asdict(wanted),
    )
