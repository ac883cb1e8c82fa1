"""Rules of sessions: an opaque id in a cookie, of which the database keeps a hash.

Not a sealed cookie: that could not be taken back. Signing out, a key's revocation and its expiry end a session at once,
in every process, since each request asks.
"""

import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, datetime

from app.apikeys.model import ApiKey
from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection
from app.sessions import queries
from app.sessions.model import Lifetime, Session
from app.tokens.provider import Caller


async def find(conn: Connection, token: str, lifetime: Lifetime, *, used: bool) -> Session | None:
    """None for what is no session's, and for one that has ended. `used`: somebody is there, and no clock asks."""
    hashed = _hash(token)
    if used:
        await queries.use(conn, hashed, lifetime)
    return await queries.find(conn, hashed, lifetime)


async def begin_of_key(conn: Connection, key: ApiKey, lifetime: Lifetime, *, origin: Origin) -> str:
    """The new session's token, which nobody has had before."""
    token = secrets.token_urlsafe(32)
    await queries.forget_expired(conn)
    await queries.insert_of_key(conn, _hash(token), key.id, lifetime)
    await _begun(conn, replace(origin, actor=f"key:{key.id}", role=key.role))
    return token


async def begin_of_caller(conn: Connection, caller: Caller, lifetime: Lifetime, *, origin: Origin) -> str:
    """As begin_of_key(), of somebody whose access token was verified."""
    token = secrets.token_urlsafe(32)
    await queries.forget_expired(conn)
    await queries.insert_of_subject(
        conn,
        _hash(token),
        lifetime,
        subject=caller.subject,
        name=caller.name,
        role=caller.role,
        tenant_id=caller.tenant_id,
        expires=datetime.fromtimestamp(caller.expires, UTC),
    )
    await _begun(conn, replace(origin, actor=f"oidc:{caller.subject}", role=caller.role))
    return token


async def end(conn: Connection, token: str, *, origin: Origin) -> None:
    await queries.end(conn, _hash(token))
    await audit.record(conn, origin, action="session.end", target=f"caller/{origin.actor}", outcome="succeeded")


async def _begun(conn: Connection, origin: Origin) -> None:
    await audit.record(conn, origin, action="session.begin", target=f"caller/{origin.actor}", outcome="succeeded")


def _hash(token: str) -> bytes:
    """A plain one: there are 256 random bits to guess."""
    return hashlib.sha256(token.encode(errors="replace")).digest()
