"""SQL of API keys."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from asyncpg import Record

from app.apikeys.model import ApiKey, Role
from app.db.pool import Connection

_GET = """
SELECT id, name, role, tenant_id, secret_hash, created_at, created_by, expires_at, revoked_at, last_used_at, replaces,
       extract(epoch FROM expires_at - now())::float8 AS seconds_left,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS usable
  FROM bf_control.api_key WHERE id = $1
"""
_LOCK = """
SELECT id, name, role, tenant_id, secret_hash, created_at, created_by, expires_at, revoked_at, last_used_at, replaces,
       extract(epoch FROM expires_at - now())::float8 AS seconds_left,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS usable
  FROM bf_control.api_key WHERE id = $1 FOR NO KEY UPDATE
"""
_LIST = """
SELECT id, name, role, tenant_id, secret_hash, created_at, created_by, expires_at, revoked_at, last_used_at, replaces,
       extract(epoch FROM expires_at - now())::float8 AS seconds_left,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS usable
  FROM bf_control.api_key ORDER BY created_at, id
"""
_PAGE = """
SELECT id, name, role, tenant_id, secret_hash, created_at, created_by, expires_at, revoked_at, last_used_at, replaces,
       extract(epoch FROM expires_at - now())::float8 AS seconds_left,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS usable
  FROM bf_control.api_key
 WHERE $1::text IS NULL OR (created_at, id) < ($1::text::timestamptz, $2::text)
 ORDER BY created_at DESC, id DESC LIMIT $3
"""
_INSERT = """
INSERT INTO bf_control.api_key (id, name, role, tenant_id, secret_hash, created_by, expires_at, replaces)
VALUES ($1, $2, $3, $4, $5, $6, coalesce($7::timestamptz, now() + $8::interval), $9)
"""
_IS_PAST = "SELECT $1::timestamptz <= now()"
_ENSURE = """
INSERT INTO bf_control.api_key (id, name, role, secret_hash, created_by) VALUES ($1, $2, 'admin', $3, 'bootstrap')
    ON CONFLICT (id) DO NOTHING
"""
_REVOKE = """
UPDATE bf_control.api_key SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL
"""
# In one order, so that two who revoke each other's keys wait for each other, and the second sees what is left.
_LOCK_ADMINS = """
SELECT id FROM bf_control.api_key
 WHERE role = 'admin' AND tenant_id IS NULL AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
 ORDER BY id FOR NO KEY UPDATE
"""
_SUCCESSOR = "SELECT id FROM bf_control.api_key WHERE replaces = $1 AND revoked_at IS NULL LIMIT 1"
_END_WITHIN = """
UPDATE bf_control.api_key SET expires_at = least(expires_at, now() + $2::interval) WHERE id = $1
"""
# In one order, since other processes do the same; what somebody else is writing is used again soon enough.
_USED = """
WITH used AS (
    SELECT k.id, now() - make_interval(secs => u.ago) AS at
      FROM bf_control.api_key k JOIN unnest($1::text[], $2::float8[]) AS u (id, ago) ON u.id = k.id
     ORDER BY k.id FOR NO KEY UPDATE OF k SKIP LOCKED)
UPDATE bf_control.api_key k SET last_used_at = greatest(k.last_used_at, used.at) FROM used WHERE k.id = used.id
"""


async def get(conn: Connection, key_id: str) -> ApiKey | None:
    row = await conn.fetchrow(_GET, key_id)
    return None if row is None else _key(row)


async def lock(conn: Connection, key_id: str) -> ApiKey | None:
    row = await conn.fetchrow(_LOCK, key_id)
    return None if row is None else _key(row)


async def every(conn: Connection) -> list[ApiKey]:
    return [_key(row) for row in await conn.fetch(_LIST)]


async def page(conn: Connection, *, after: tuple[str, str] | None, limit: int) -> list[ApiKey]:
    """The newest first."""
    created_at, last = after or (None, None)
    return [_key(row) for row in await conn.fetch(_PAGE, created_at, last, limit)]


async def insert(
    conn: Connection,
    *,
    key_id: str,
    name: str,
    role: Role,
    tenant_id: str | None,
    secret_hash: bytes,
    created_by: str,
    expires_at: datetime | None = None,
    expires_in: timedelta | None = None,
    replaces: str | None = None,
) -> None:
    await conn.execute(
        _INSERT, key_id, name, role, tenant_id, secret_hash, created_by, expires_at, expires_in, replaces
    )


async def is_past(conn: Connection, moment: datetime) -> bool:
    """By the database's clock."""
    return bool(await conn.fetchval(_IS_PAST, moment))


async def ensure_admin(conn: Connection, *, key_id: str, name: str, secret_hash: bytes) -> None:
    """Does nothing where the key is there already, revoked or not."""
    await conn.execute(_ENSURE, key_id, name, secret_hash)


async def revoke(conn: Connection, key_id: str) -> None:
    await conn.execute(_REVOKE, key_id)


async def lock_admins(conn: Connection) -> set[str]:
    """The keys that can make others, kept from changing until the transaction ends."""
    return {row["id"] for row in await conn.fetch(_LOCK_ADMINS)}


async def successor(conn: Connection, key_id: str) -> str | None:
    """The key that it was rotated into, unless that one is revoked."""
    found: str | None = await conn.fetchval(_SUCCESSOR, key_id)
    return found


async def end_within(conn: Connection, key_id: str, overlap: timedelta) -> None:
    """It expires no later than that."""
    await conn.execute(_END_WITHIN, key_id, overlap)


async def record_use(conn: Connection, ago: Mapping[str, float]) -> None:
    """`ago`: seconds since each key was used."""
    await conn.execute(_USED, list(ago), list(ago.values()))


def _key(row: Record) -> ApiKey:
    return ApiKey(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        tenant_id=row["tenant_id"],
        secret_hash=bytes(row["secret_hash"]),
        created_at=row["created_at"],
        created_by=row["created_by"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        replaces=row["replaces"],
        seconds_left=row["seconds_left"],
        usable=row["usable"],
    )
