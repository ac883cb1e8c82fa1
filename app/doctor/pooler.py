"""Whether something pools connections on the way, and how.

A pooler logs clients in itself, and so invents the process id that a server announces to a client. Through one
that hands out connections by transaction, another client gets ours between two of our statements, or we get
another; one that pools by session never lets that happen, and neither does a server.
"""

import asyncio
from enum import StrEnum
from typing import Final

from app.db.pool import Connection, Database
from app.doctor import queries
from app.errors import AppError

_PATIENCE: Final = 3.0  # seconds for a pooler's connection; ours is in the hands of the other client meanwhile


class Pooling(StrEnum):
    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


async def pooling(database: Database, conn: Connection) -> Pooling:
    """`conn` is of `database`, and in no transaction."""
    first = await _backend(conn)
    if first == queries.announced_pid(conn):
        return Pooling.NONE
    if await _backend(conn) != first:
        return Pooling.TRANSACTION
    try:
        async with asyncio.timeout(_PATIENCE), database.transaction() as other:
            if await queries.backend_pid(other) == first or await _backend(conn) != first:
                return Pooling.TRANSACTION
    except (AppError, TimeoutError):
        # No second connection to be had: one by session has given its only one to us.
        return Pooling.SESSION
    return Pooling.SESSION


async def _backend(conn: Connection) -> int:
    """In a transaction: preparing a statement and running it are two trips, which could else meet two servers."""
    async with conn.transaction():
        return await queries.backend_pid(conn)
