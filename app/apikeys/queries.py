"""SQL of API keys."""

from datetime import timedelta

from asyncpg import Record

from app.apikeys.model import ApiKey, Role
from app.db.pool import Connection

_GET = """
SELECT id, name, role, tenant_id, secret_hash, created_at, expires_at, revoked_at,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS usable
  FROM bf_control.api_key WHERE id = $1
"""
_LIST = """
SELECT id, name, role, tenant_id, secret_hash, created_at, expires_at, revoked_at,
       revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS usable
  FROM bf_control.api_key ORDER BY created_at, id
"""
_INSERT = """
INSERT INTO bf_control.api_key (id, name, role, tenant_id, secret_hash, created_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, now() + $7::interval)
"""
_ENSURE = """
INSERT INTO bf_control.api_key (id, name, role, secret_hash, created_by) VALUES ($1, $2, 'admin', $3, 'bootstrap')
    ON CONFLICT (id) DO NOTHING
"""
_REVOKE = """
UPDATE bf_control.api_key SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1 RETURNING id
"""


async def get(conn: Connection, key_id: str) -> ApiKey | None:
    row = await conn.fetchrow(_GET, key_id)
    return None if row is None else _key(row)


async def every(conn: Connection) -> list[ApiKey]:
    return [_key(row) for row in await conn.fetch(_LIST)]


async def insert(
    conn: Connection,
    *,
    key_id: str,
    name: str,
    role: Role,
    tenant_id: str | None,
    secret_hash: bytes,
    created_by: str,
    expires_in: timedelta | None,
) -> None:
    await conn.execute(_INSERT, key_id, name, role, tenant_id, secret_hash, created_by, expires_in)


async def ensure_admin(conn: Connection, *, key_id: str, name: str, secret_hash: bytes) -> None:
    """Does nothing where the key is there already, revoked or not."""
    await conn.execute(_ENSURE, key_id, name, secret_hash)


async def revoke(conn: Connection, key_id: str) -> bool:
    """False where there is no such key."""
    return await conn.fetchrow(_REVOKE, key_id) is not None


def _key(row: Record) -> ApiKey:
    return ApiKey(
        id=row["id"],
        name=row["name"],
        role=Role(row["role"]),
        tenant_id=row["tenant_id"],
        secret_hash=bytes(row["secret_hash"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        usable=row["usable"],
    )
