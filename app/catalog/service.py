"""Rules of the catalogue: what there is to choose from."""

from typing import Final

from app.catalog import queries
from app.catalog.nearest import unknown
from app.db.pool import Connection
from app.errors import FieldError

# It cannot be taken out of the catalogue.
DEFAULT_TIER: Final = "standard"


async def wrong_tier(conn: Connection, name: str, *, pointer: str = "/subscription_tier") -> list[FieldError]:
    """Nothing where the catalogue has the tier."""
    if name == DEFAULT_TIER:
        return []
    known = await queries.tier_names(conn)
    return [] if name in known else [FieldError(pointer=pointer, detail=unknown(name, known))]
