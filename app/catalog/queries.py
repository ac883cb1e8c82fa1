"""SQL of the catalogue."""

from app.db.pool import Connection

_TIER_NAMES = "SELECT name FROM bf_control.tier"


async def tier_names(conn: Connection) -> set[str]:
    return {row["name"] for row in await conn.fetch(_TIER_NAMES)}
