"""SQL of the chain: sealing, and reading it back. xid8 goes as text."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from app.audit.model import Head
from app.db.pool import Connection

INSTALLED: Final = "SELECT to_regclass('bf_control.audit_chain') IS NOT NULL"
# Of a chain whose record is gone.
NO_HEAD: Final = Head(chain_id=UUID(int=0), seq=0, hash=bytes(32), floor_seq=0, floor_hash=bytes(32), sealed_at=None)
# What is committed and not sealed. A watermark beyond the newest transaction is another cluster's, from before a
# restore.
_PENDING = """
SELECT EXISTS (SELECT FROM bf_control.audit a
                 LEFT JOIN LATERAL
                      (SELECT l.seq FROM bf_control.audit_seal l WHERE l.audit_id = a.id OFFSET 0) s ON true
                WHERE (a.xid, a.id) > (CASE WHEN c.done_xid > pg_snapshot_xmax(pg_current_snapshot()) THEN '0'
                                            ELSE c.done_xid END, c.done_id)
                  AND s.seq IS NULL)
  FROM bf_control.audit_chain c
"""
_LOCK = """
SELECT c.head_seq, c.head_hash, c.done_id,
       CASE WHEN c.done_xid > pg_snapshot_xmax(pg_current_snapshot()) THEN '0' ELSE c.done_xid::text END AS done_xid,
       pg_snapshot_xmin(pg_current_snapshot())::text AS oldest
  FROM bf_control.audit_chain c FOR UPDATE SKIP LOCKED
"""
_ROWS = """
SELECT a.id, a.actor, a.role, a.database_user, a.source_address, a.request_id, a.action, a.target, a.outcome,
       to_char(a.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS occurred_at,
       a.before::text AS before, a.after::text AS after, a.xid::text AS xid
  FROM bf_control.audit a
  LEFT JOIN LATERAL (SELECT l.seq FROM bf_control.audit_seal l WHERE l.audit_id = a.id OFFSET 0) s ON true
 WHERE (a.xid, a.id) > ($1::text::xid8, $2::bigint) AND s.seq IS NULL
 ORDER BY a.xid, a.id LIMIT $3
"""
_SEAL = """
INSERT INTO bf_control.audit_seal (seq, audit_id, hash)
SELECT v.seq, v.audit_id, v.hash FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS v(seq, audit_id, hash)
"""
_ADVANCE = """
UPDATE bf_control.audit_chain
   SET head_seq = $1, head_hash = $2, done_xid = $3::text::xid8, done_id = $4, sealed_at = now()
"""
_HEAD = """
SELECT c.chain_id, c.head_seq AS seq, c.head_hash AS hash, c.sealed_at,
       coalesce(g.last_seq, 0) AS floor_seq, coalesce(g.head_hash, decode(repeat('00', 32), 'hex')) AS floor_hash
  FROM bf_control.audit_chain c
  LEFT JOIN LATERAL (SELECT d.last_seq, d.head_hash FROM bf_control.audit_segment d ORDER BY d.last_seq DESC LIMIT 1) g
         ON true
"""
_SEALED = """
SELECT s.seq, s.audit_id, s.hash, a.id, a.actor, a.role, a.database_user, a.source_address, a.request_id, a.action,
       a.target, a.outcome, to_char(a.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS occurred_at,
       a.before::text AS before, a.after::text AS after, a.xid::text AS xid
  FROM (SELECT l.seq, l.audit_id, l.hash FROM bf_control.audit_seal l WHERE l.seq >= $1 ORDER BY l.seq LIMIT $2) s
  LEFT JOIN LATERAL (SELECT r.* FROM bf_control.audit r WHERE r.id = s.audit_id OFFSET 0) a ON true
 ORDER BY s.seq
"""
_SEAL_AT = "SELECT seq, audit_id, hash FROM bf_control.audit_seal WHERE seq = $1"
_NEWEST_SEAL = "SELECT coalesce(max(seq), 0) FROM bf_control.audit_seal"
_NEVER_SEALED = """
SELECT a.id FROM bf_control.audit a CROSS JOIN bf_control.audit_chain c
 WHERE (a.xid, a.id) <= (c.done_xid, c.done_id)
   AND NOT EXISTS (SELECT FROM bf_control.audit_seal s WHERE s.audit_id = a.id)
 ORDER BY a.id LIMIT 1
"""
_UNSEALED = """
SELECT count(*) AS rows, coalesce(extract(epoch FROM now() - min(a.occurred_at)), 0)::float AS seconds
  FROM bf_control.audit a CROSS JOIN bf_control.audit_chain c
 WHERE (a.xid, a.id) > (c.done_xid, c.done_id)
   AND NOT EXISTS (SELECT FROM bf_control.audit_seal s WHERE s.audit_id = a.id)
"""
_DROP_RECORDED = """
SELECT EXISTS (SELECT FROM bf_control.audit
                WHERE action = 'audit.drop' AND target = 'audit'
                  AND after @> jsonb_build_object('last_seq', $1::bigint, 'hash', encode($2::bytea, 'hex')))
"""
_DROP = "SELECT bf_control.audit_drop($1)"
_ANCHOR_DUE = """
UPDATE bf_control.audit_chain
   SET anchored_at = now()
 WHERE head_seq > anchored_seq AND ($1::interval IS NULL OR anchored_at IS NULL OR anchored_at <= now() - $1)
RETURNING now() AS at
"""
_ANCHORED = "UPDATE bf_control.audit_chain SET anchored_seq = greatest(anchored_seq, $1)"
_ANCHOR_FAILED = "UPDATE bf_control.audit_chain SET anchored_at = now() - $1::interval + interval '1 minute'"


async def pending(conn: Connection) -> bool:
    """Whether there is anything to seal."""
    found: bool = await conn.fetchval(_PENDING)
    return found


async def lock(conn: Connection) -> Any:
    """Where the sealer is; None while another one seals. It stays locked until the transaction ends."""
    return await conn.fetchrow(_LOCK)


async def unsealed_rows(conn: Connection, done_xid: str, done_id: int, *, limit: int) -> Sequence[Any]:
    return await conn.fetch(_ROWS, done_xid, done_id, limit)


async def seal(conn: Connection, links: Sequence[tuple[int, int, bytes]]) -> None:
    """Each by seq, the row's id and the hash."""
    seqs, ids, hashes = zip(*links, strict=True)
    await conn.execute(_SEAL, list(seqs), list(ids), list(hashes))


async def advance(conn: Connection, seq: int, digest: bytes, done: tuple[str, int]) -> None:
    await conn.execute(_ADVANCE, seq, digest, *done)


async def head(conn: Connection) -> Head:
    row: Any = await conn.fetchrow(_HEAD)
    if row is None:
        return NO_HEAD
    return Head(
        chain_id=UUID(str(row["chain_id"])),
        seq=row["seq"],
        hash=bytes(row["hash"]),
        floor_seq=row["floor_seq"],
        floor_hash=bytes(row["floor_hash"]),
        sealed_at=row["sealed_at"],
    )


async def sealed(conn: Connection, *, start: int, limit: int) -> Sequence[Any]:
    """Links from `start` on, each with its row, whose members are None where that is gone."""
    return await conn.fetch(_SEALED, start, limit)


async def seal_at(conn: Connection, seq: int) -> Any:
    return await conn.fetchrow(_SEAL_AT, seq)


async def newest_seal(conn: Connection) -> int:
    newest: int = await conn.fetchval(_NEWEST_SEAL)
    return newest


async def never_sealed(conn: Connection) -> int | None:
    """The first row that the sealer has passed by."""
    found: int | None = await conn.fetchval(_NEVER_SEALED)
    return found


async def unsealed(conn: Connection) -> tuple[int, float]:
    """How many rows wait for the sealer, and the seconds that the oldest has waited."""
    row: Any = await conn.fetchrow(_UNSEALED)
    return row["rows"], row["seconds"]


async def drop_recorded(conn: Connection, seq: int, digest: bytes) -> bool:
    """Whether the trail itself says that it was dropped up to there."""
    found: bool = await conn.fetchval(_DROP_RECORDED, seq, digest)
    return found


async def drop(conn: Connection, keep: timedelta) -> int:
    """A slice of what is older than all that must be kept; how many rows."""
    dropped: int = await conn.fetchval(_DROP, keep)
    return dropped


async def claim_anchor(conn: Connection, every: timedelta | None) -> datetime | None:
    """When the head is to be anchored, which is now; None where it is not due, or another process does it."""
    due: datetime | None = await conn.fetchval(_ANCHOR_DUE, every)
    return due


async def anchored(conn: Connection, seq: int) -> None:
    await conn.execute(_ANCHORED, seq)


async def anchor_failed(conn: Connection, every: timedelta) -> None:
    """It is tried again in a minute."""
    await conn.execute(_ANCHOR_FAILED, every)


async def installed(conn: Connection) -> bool:
    there: bool = await conn.fetchval(INSTALLED)
    return there
