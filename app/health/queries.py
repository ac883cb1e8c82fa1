"""SQL of the probes."""

from app.db.pool import Connection

_INSTALLED = "SELECT to_regclass('bf_control.api_key') IS NOT NULL"


async def installed(conn: Connection) -> bool:
    """Whether the service's own schema is there."""
    return bool(await conn.fetchval(_INSTALLED))
