"""SQL of the probes."""

from app.db.pool import Connection

_SERVER_VERSION = "SHOW server_version"


async def server_version(conn: Connection) -> str:
    return str(await conn.fetchval(_SERVER_VERSION))
