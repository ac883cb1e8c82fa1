"""Rules of giving and taking away API keys, each of which leaves a row in the audit trail."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.apikeys import queries
from app.apikeys.model import ApiKey, Role
from app.apikeys.service import Keys, NewKey
from app.audit import service as audit
from app.audit.model import Origin
from app.db.pages import cut
from app.db.pool import Connection
from app.errors import Conflict, Denied, FieldError, Invalid, NotFound
from app.registry import service as registry


class ApiKeyNotFound(NotFound):
    code = "api_key_not_found"
    title = "API key not found"


class ApiKeyNotUsable(Conflict):
    code = "api_key_not_usable"
    title = "The key is revoked or expired"


class ApiKeyRotated(Conflict):
    code = "api_key_rotated"
    title = "The key was rotated before"


class LastAdminKey(Conflict):
    code = "last_admin_key"
    title = "It is the last admin key"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRequest:
    """`expires_at` or `expires_in`, or neither: for ever."""

    name: str
    role: Role
    tenant_id: str | None = None
    expires_at: datetime | None = None
    expires_in: timedelta | None = None


async def require(conn: Connection, key_id: str) -> ApiKey:
    """Raises ApiKeyNotFound."""
    return _there(await queries.get(conn, key_id))


async def page(
    conn: Connection, *, after: tuple[str, str] | None, size: int
) -> tuple[list[ApiKey], tuple[str, str] | None]:
    """A page, the newest first, and where the next one starts."""
    found = await queries.page(conn, after=after, limit=size + 1)
    return cut(found, size, lambda last: (last.created_at.isoformat(), last.id))


async def create(
    conn: Connection, keys: Keys, wanted: KeyRequest, *, origin: Origin, by: Role = Role.ADMIN
) -> tuple[ApiKey, NewKey]:
    """The key, and its secret, which is shown once. `by` is the role of who asks.

    Raises Denied, Invalid, TenantNotFound, TenantStateForbids.
    """
    if not by.may_give(wanted.role):
        raise Denied(f"A caller with the role {by} makes no key with the role {wanted.role}.")
    if wanted.expires_at is not None and await queries.is_past(conn, wanted.expires_at):
        fault = FieldError(pointer="/expires_at", detail="must be in the future")
        raise Invalid("The request is not valid; see errors.", errors=[fault])
    if wanted.tenant_id is not None:
        # Locked: a purge takes away the keys that there are, and the id may become another tenant's.
        registry.require_changeable(await registry.require(conn, wanted.tenant_id, lock=True))
    new = await keys.create(
        conn,
        name=wanted.name,
        role=wanted.role,
        tenant_id=wanted.tenant_id,
        created_by=origin.actor,
        expires_at=wanted.expires_at,
        expires_in=wanted.expires_in,
    )
    made = await require(conn, new.id)
    await _record(conn, origin, "create", made.id, after=_told(made))
    return made, new


async def rotate(
    conn: Connection, keys: Keys, key_id: str, *, overlap: timedelta, origin: Origin
) -> tuple[ApiKey, NewKey]:
    """A new key with the same name, role, tenant and lifetime. The old one ends after the `overlap`, if not before.

    Raises ApiKeyNotFound, ApiKeyNotUsable, and ApiKeyRotated unless what it was rotated into is revoked.
    """
    old = _there(await queries.lock(conn, key_id))
    if not old.usable:
        raise ApiKeyNotUsable("A key that is revoked or expired is not rotated; make a new one.")
    successor = await queries.successor(conn, key_id)
    if successor is not None:
        raise ApiKeyRotated(f"It was rotated into {successor}: rotate that one, or revoke it first.")
    new = await keys.create(
        conn,
        name=old.name,
        role=old.role,
        tenant_id=old.tenant_id,
        created_by=origin.actor,
        expires_in=None if old.expires_at is None else old.expires_at - old.created_at,
        replaces=old.id,
    )
    await queries.end_within(conn, old.id, overlap)
    made, ended = await require(conn, new.id), await require(conn, old.id)
    after = {"expires_at": _time(ended.expires_at), "replaced_by": made.id}
    await _record(conn, origin, "rotate", old.id, before={"expires_at": _time(old.expires_at)}, after=after)
    await _record(conn, origin, "create", made.id, after=_told(made))
    return made, new


async def revoke(conn: Connection, key_id: str, *, origin: Origin, even_the_last: bool) -> ApiKey:
    """As it is then; revoking twice is fine. Raises ApiKeyNotFound, and LastAdminKey unless it may be `even_the_last`
    that can make others.
    """
    admins = await queries.lock_admins(conn)
    key = _there(await queries.lock(conn, key_id))
    if key.revoked_at is not None:
        return key
    if admins == {key_id} and not even_the_last:
        raise LastAdminKey("Without it no key can make another one: make one first, or say that it may be the last.")
    await queries.revoke(conn, key_id)
    revoked = await require(conn, key_id)
    after = {"revoked_at": _time(revoked.revoked_at)}
    await _record(conn, origin, "revoke", key_id, before={"revoked_at": None}, after=after)
    return revoked


async def record_reading(conn: Connection, origin: Origin) -> None:
    """Who looks at what keys there are is known too."""
    await audit.record(conn, origin, action="api_key.list", target="api_keys", outcome="succeeded")


def _there(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise ApiKeyNotFound("There is no such API key.")
    return key


async def _record(
    conn: Connection,
    origin: Origin,
    verb: str,
    key_id: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any],
) -> None:
    target = f"api_key/{key_id}"
    await audit.record(
        conn, origin, action=f"api_key.{verb}", target=target, outcome="succeeded", before=before, after=after
    )


def _told(key: ApiKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "role": key.role,
        "tenant_id": key.tenant_id,
        "expires_at": _time(key.expires_at),
        "replaces": key.replaces,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
