"""SQL of sessions."""

from datetime import datetime

from asyncpg import Record

from app.db.pool import Connection
from app.roles import Role
from app.sessions.model import Lifetime, Session

# What a key may do is the key's own to say, each time: one that is revoked, or expired, signs nobody in any longer.
_FIND = """
SELECT CASE WHEN s.key_id IS NULL THEN 'oidc:' || s.subject ELSE 'key:' || k.id END AS actor,
       coalesce(k.name, s.name) AS name, coalesce(k.role, s.role) AS role,
       CASE WHEN s.key_id IS NULL THEN s.tenant_id ELSE k.tenant_id END AS tenant_id
  FROM bf_control.page_session s LEFT JOIN bf_control.api_key k ON k.id = s.key_id
 WHERE s.token_hash = $1 AND s.expires_at > now() AND s.used_at > now() - $2::interval
   AND (s.key_id IS NULL OR (k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > now())))
"""
# Not at each request: a minute is close enough, and is no write.
_USE = """
UPDATE bf_control.page_session SET used_at = now()
 WHERE token_hash = $1 AND used_at < now() - interval '1 minute' AND used_at > now() - $2::interval
"""
_OF_KEY = """
INSERT INTO bf_control.page_session (token_hash, key_id, expires_at) VALUES ($1, $2, now() + $3::interval)
"""
_OF_SUBJECT = """
INSERT INTO bf_control.page_session (token_hash, subject, name, role, tenant_id, expires_at)
VALUES ($1, $2, $3, $4, $5, least(now() + $6::interval, greatest($7::timestamptz, now() + interval '1 minute')))
"""
_END = "DELETE FROM bf_control.page_session WHERE token_hash = $1"
_FORGET = """
DELETE FROM bf_control.page_session WHERE token_hash IN (
    SELECT token_hash FROM bf_control.page_session
     WHERE expires_at < now() ORDER BY expires_at LIMIT 100 FOR UPDATE SKIP LOCKED)
"""


async def find(conn: Connection, token_hash: bytes, lifetime: Lifetime) -> Session | None:
    row = await conn.fetchrow(_FIND, token_hash, lifetime.idle)
    return None if row is None else _session(row)


async def use(conn: Connection, token_hash: bytes, lifetime: Lifetime) -> None:
    await conn.execute(_USE, token_hash, lifetime.idle)


async def insert_of_key(conn: Connection, token_hash: bytes, key_id: str, lifetime: Lifetime) -> None:
    await conn.execute(_OF_KEY, token_hash, key_id, lifetime.longest)


async def insert_of_subject(
    conn: Connection,
    token_hash: bytes,
    lifetime: Lifetime,
    *,
    subject: str,
    name: str,
    role: Role,
    tenant_id: str | None,
    expires: datetime,
) -> None:
    """It ends when the access token does that it came from, but for a minute in which to arrive."""
    await conn.execute(_OF_SUBJECT, token_hash, subject, name, role, tenant_id, lifetime.longest, expires)


async def end(conn: Connection, token_hash: bytes) -> None:
    await conn.execute(_END, token_hash)


async def forget_expired(conn: Connection) -> None:
    """A hundred of them, the oldest first."""
    await conn.execute(_FORGET)


def _session(row: Record) -> Session:
    return Session(actor=row["actor"], name=row["name"], role=Role(row["role"]), tenant_id=row["tenant_id"])
