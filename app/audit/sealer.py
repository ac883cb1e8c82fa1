"""Links recorded rows into the chain, behind those who record them."""

import asyncio
from datetime import timedelta
from typing import Final

from app.audit import anchors, canonical, chain_queries
from app.audit.anchors import AnchorError, Anchors
from app.db.pool import Connection, Database
from app.errors import AppError
from app.log import logger

_log = logger(__name__)
# How often, in seconds, new rows are looked for: what an attacker has to be quicker than.
_EVERY: Final = 2.0
# How often what is too old is dropped.
_DROP_EVERY: Final = 3600.0
_BATCH: Final = 1000


async def seal(database: Database) -> int:
    """Everything that is committed; how many rows. Nothing while another process seals."""
    total = 0
    while True:
        async with database.transaction() as conn:
            sealed = await _batch(conn)
        total += sealed
        if sealed < _BATCH:
            return total


async def _batch(conn: Connection) -> int:
    """Rows in the order of their transactions, after everything that was found before.

    The lock's snapshot says which transactions have ended: rows of those cannot turn up later, and those of others that
    are there already are sealed too, so that no long transaction holds up the chain.
    """
    at = await chain_queries.lock(conn)
    if at is None:
        return 0
    rows = await chain_queries.unsealed_rows(conn, at["done_xid"], at["done_id"], limit=_BATCH)
    if not rows:
        return 0
    seq, digest = at["head_seq"], bytes(at["head_hash"])
    links = []
    for row in rows:
        seq += 1
        digest = canonical.link(digest, seq, row)
        links.append((seq, row["id"], digest))
    await chain_queries.seal(conn, links)
    last = rows[-1]
    through = len(rows) == _BATCH and int(last["xid"]) < int(at["oldest"])
    await chain_queries.advance(conn, seq, digest, (last["xid"], last["id"]) if through else (at["oldest"], 0))
    return len(rows)


class Sealer:
    """Seals, anchors and drops, in whichever worker comes first; `anchoring` is None where no anchors are kept."""

    def __init__(
        self, database: Database, *, anchoring: Anchors | None, anchor_every: timedelta, retention: timedelta
    ) -> None:
        self._database = database
        self._anchors = anchoring
        self._anchor_every = anchor_every
        self._retention = retention

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        drop_at = loop.time() + _EVERY
        while True:
            try:
                async with self._database.connection() as conn:
                    found = await chain_queries.pending(conn)
                if found:
                    await seal(self._database)
                    await self._anchor()
                if loop.time() >= drop_at:
                    drop_at = loop.time() + _DROP_EVERY
                    await self._drop()
                    await self._anchor()
            except AppError as error:
                _log.warning("audit_sealing_failed", reason=error.detail)
            await asyncio.sleep(_EVERY)

    async def _anchor(self) -> None:
        if self._anchors is not None:
            try:
                await anchors.anchor(self._database, self._anchors, every=self._anchor_every)
            except AnchorError as error:
                _log.error("audit_anchor_failed", reason=error.detail)

    async def _drop(self) -> None:
        total = 0
        while True:
            async with self._database.transaction() as conn:
                dropped = await chain_queries.drop(conn, self._retention)
            total += dropped
            if not dropped:
                break
        if total:
            _log.info("audit_dropped", rows=total)
