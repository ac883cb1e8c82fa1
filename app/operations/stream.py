"""Events of an operation as they happen, in the format of server-sent events."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.db.pool import Connection, Database
from app.errors import AppError
from app.log import logger
from app.operations import page_queries
from app.operations.model import Event
from app.operations.schemas import OperationOut
from app.operations.waiter import Waiter

_log = logger(__name__)
_PAGE: Final = 100
# Proxies cut a connection on which nothing was sent for a minute or so.
_PING_EVERY: Final = 15.0


async def newest(conn: Connection, operation_id: UUID) -> int:
    """The number of the last event so far; 0 where there is none."""
    return await page_queries.newest_event(conn, operation_id)


async def follow(
    database: Database, waiter: Waiter, operation_id: UUID, *, after: int, ping_every: float = _PING_EVERY
) -> AsyncIterator[bytes]:
    """Until the operation has ended, the process stops, or the database is away: the client then comes again."""
    loop = asyncio.get_running_loop()
    sent = loop.time()
    with waiter.registered(operation_id) as changed:
        while True:
            try:
                async with database.connection() as conn:
                    events = await page_queries.events(conn, operation_id, after=after, limit=_PAGE)
            except AppError as error:
                _log.warning("stream_cut_short", reason=error.detail)
                return
            for event in events:
                yield _encoded(event)
                after, sent = event.seq, loop.time()
            if waiter.released or (events and events[-1].operation.status.terminal):
                return
            if len(events) < _PAGE:
                await waiter.pause(changed)
            if loop.time() - sent > ping_every:
                yield KEEPALIVE_COMMENT
                sent = loop.time()


def _encoded(event: Event) -> bytes:
    document = OperationOut.of(event.operation).model_dump_json()
    return format_sse_event(data_str=document, event=event.name, id=str(event.seq))
