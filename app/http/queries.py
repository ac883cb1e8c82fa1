"""SQL of stored answers."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from app.db.pool import Connection

_TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
_GET = """
SELECT request_hash, status, headers, body FROM bf_control.idempotency_key
 WHERE caller = $1 AND route = $2 AND key = $3 AND created_at > now() - interval '24 hours'
"""
_PUT = """
INSERT INTO bf_control.idempotency_key AS k (caller, route, key, request_hash, status, headers, body)
VALUES ($1, $2, $3, $4, $5, $6, $7)
    ON CONFLICT (caller, route, key) DO UPDATE
   SET request_hash = $4, status = $5, headers = $6, body = $7, created_at = now()
"""
_FORGET = "DELETE FROM bf_control.idempotency_key WHERE created_at < now() - interval '24 hours'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Where an answer is kept: a caller's key on a route."""

    caller: str
    route: str
    key: str

    def lock(self) -> int:
        """Of an advisory lock: 64 bits of a hash."""
        digest = hashlib.sha256("\0".join(("idempotency", self.caller, self.route, self.key)).encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    request_hash: bytes
    status: int
    headers: dict[str, str]
    body: dict[str, Any]


async def try_lock(conn: Connection, slot: Slot) -> bool:
    """False where another transaction has it; ours keeps it until it ends."""
    return bool(await conn.fetchval(_TRY_LOCK, slot.lock()))


async def get(conn: Connection, slot: Slot) -> Stored | None:
    row = await conn.fetchrow(_GET, slot.caller, slot.route, slot.key)
    if row is None:
        return None
    return Stored(
        request_hash=bytes(row["request_hash"]),
        status=row["status"],
        headers=row["headers"],
        # As text: jsonb would put the members in another order, and a replay is the same to the byte.
        body=json.loads(row["body"]),
    )


async def put(conn: Connection, slot: Slot, stored: Stored) -> None:
    """In place of what was there."""
    await conn.execute(
        _PUT,
        slot.caller,
        slot.route,
        slot.key,
        stored.request_hash,
        stored.status,
        stored.headers,
        json.dumps(stored.body),
    )


async def forget_old(conn: Connection) -> None:
    """Keys are kept for 24 hours."""
    await conn.execute(_FORGET)
