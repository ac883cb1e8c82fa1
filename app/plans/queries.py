"""SQL of plans."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from app.db.pool import Connection
from app.plans.model import Intent, Plan

# Those that somebody is just using are left to the next.
_FORGET_EXPIRED = """
DELETE FROM bf_control.plan
 WHERE id IN (SELECT id FROM bf_control.plan WHERE expires_at <= now() FOR UPDATE SKIP LOCKED)
"""
_OPEN = "SELECT count(*) FROM bf_control.plan WHERE actor = $1 AND expires_at > now() AND used_at IS NULL"
_STORE = """
INSERT INTO bf_control.plan (id, token_hash, action, target, actor, digest, document, needs_approval, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, now() + $9::interval) RETURNING expires_at
"""
_USE = """
UPDATE bf_control.plan SET used_at = now()
 WHERE token_hash = $1 AND action = $2 AND actor = $3 AND used_at IS NULL AND expires_at > now()
RETURNING id, digest, needs_approval, approved_by
"""
_GET = """
SELECT id, action, target, actor, document, needs_approval, approved_by, approved_at, created_at, expires_at, used_at
  FROM bf_control.plan WHERE id = $1 AND expires_at > now()
"""
_APPROVE = """
UPDATE bf_control.plan SET approved_by = $2, approved_at = now()
 WHERE id = $1 AND approved_by IS NULL AND used_at IS NULL AND expires_at > now() RETURNING true
"""
_DATABASE = "SELECT current_database()::text"


class Used(NamedTuple):
    """What a token stood for."""

    id: UUID
    digest: bytes
    needs_approval: bool
    approved_by: str | None


async def database(conn: Connection) -> str:
    """The name of the one that is connected to."""
    return str(await conn.fetchval(_DATABASE))


async def forget_expired(conn: Connection) -> None:
    await conn.execute(_FORGET_EXPIRED)


async def open_plans(conn: Connection, actor: str) -> int:
    """How many of the actor's could be confirmed now."""
    return int(await conn.fetchval(_OPEN, actor))


async def store(
    conn: Connection,
    plan_id: UUID,
    intent: Intent,
    *,
    token_hash: bytes,
    actor: str,
    needs_approval: bool,
    valid_for: timedelta,
) -> datetime:
    """When it expires, by the database's clock."""
    expires_at: datetime = await conn.fetchval(
        _STORE,
        plan_id,
        token_hash,
        intent.action,
        intent.target,
        actor,
        intent.digest,
        intent.document,
        needs_approval,
        valid_for,
    )
    return expires_at


async def use(conn: Connection, *, token_hash: bytes, action: str, actor: str) -> Used | None:
    """None where there is no such plan of the actor's, or no longer. Of two at once the second waits, and gets none."""
    row: Any = await conn.fetchrow(_USE, token_hash, action, actor)
    return None if row is None else Used(row["id"], bytes(row["digest"]), row["needs_approval"], row["approved_by"])


async def get(conn: Connection, plan_id: UUID) -> Plan | None:
    row = await conn.fetchrow(_GET, plan_id)
    return None if row is None else Plan(**dict(row))


async def approve(conn: Connection, plan_id: UUID, *, approver: str) -> bool:
    """False where it is approved, used or expired already."""
    return await conn.fetchval(_APPROVE, plan_id, approver) is not None
