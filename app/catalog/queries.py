"""SQL of the catalogue."""

from asyncpg import Record

from app.catalog.model import Feature, Tier
from app.db.pool import Connection

_TIER_NAMES = "SELECT name FROM bf_control.tier"
_FEATURE_NAMES = "SELECT name FROM bf_control.feature"
_TIERS = "SELECT name, description, rank FROM bf_control.tier ORDER BY rank, name"
_FEATURES = "SELECT name, description, tier, enabled_by_default, requires FROM bf_control.feature ORDER BY name"
# What the history of the tenants that follow says of the change; and whoever is in the way is not waited for long.
_CONTEXT = """
SELECT set_config('bf.source', 'api', true), set_config('app.current_user_id', left($1, 36), true),
       set_config('lock_timeout', '2s', true)
"""
_LOCK = "LOCK TABLE bf_control.tier, bf_control.feature IN SHARE ROW EXCLUSIVE MODE"
_PUT_TIER = """
INSERT INTO bf_control.tier (name, description, rank) VALUES ($1, $2, $3)
    ON CONFLICT (name) DO UPDATE SET description = EXCLUDED.description, rank = EXCLUDED.rank, updated_at = now()
"""
_PUT_FEATURE = """
INSERT INTO bf_control.feature (name, description, tier, enabled_by_default, requires) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (name) DO UPDATE SET description = EXCLUDED.description, tier = EXCLUDED.tier,
                                     enabled_by_default = EXCLUDED.enabled_by_default, requires = EXCLUDED.requires,
                                     updated_at = now()
"""


async def tier_names(conn: Connection) -> set[str]:
    return {row["name"] for row in await conn.fetch(_TIER_NAMES)}


async def feature_names(conn: Connection) -> set[str]:
    return {row["name"] for row in await conn.fetch(_FEATURE_NAMES)}


async def tiers(conn: Connection) -> list[Tier]:
    """The lowest first."""
    return [Tier(**row) for row in await conn.fetch(_TIERS)]


async def features(conn: Connection) -> list[Feature]:
    return [_feature(row) for row in await conn.fetch(_FEATURES)]


async def lock(conn: Connection, *, actor: str) -> None:
    """Nobody else changes the catalogue until the transaction ends; readers go on. Raises Transient after 2 s."""
    await conn.execute(_CONTEXT, actor)
    await conn.execute(_LOCK)


async def put_tier(conn: Connection, tier: Tier) -> None:
    await conn.execute(_PUT_TIER, tier.name, tier.description, tier.rank)


async def put_feature(conn: Connection, feature: Feature) -> None:
    await conn.execute(
        _PUT_FEATURE,
        feature.name,
        feature.description,
        feature.tier,
        feature.enabled_by_default,
        list(feature.requires),
    )


def _feature(row: Record) -> Feature:
    return Feature(**{**row, "requires": tuple(row["requires"])})
