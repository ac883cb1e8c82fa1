"""Secrets under another key: `bf-admin secrets rotate`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection, Database
from app.integrations import queries
from app.keyring import CannotDecrypt, Keyring, Sealed

_BATCH: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A secret that no key opens."""

    tenant_id: str
    capability: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """`current` were under the first key already."""

    rotated: int
    current: int
    unreadable: tuple[Unreadable, ...]


async def rotate(
    database: Database, keyring: Keyring, *, origin: Origin, progress: Callable[[int, int], None]
) -> Rotated:
    """Opens every secret and encrypts it under the first key, a transaction for each batch: cut short, it may simply be
    repeated. `progress` is told how many of how many are done. Raises NoSecretKeys.
    """
    first = keyring.current
    async with database.connection() as conn:
        total = await queries.count(conn)
    done, rotated, unreadable = 0, 0, []
    after: tuple[str, str, str] | None = ("", "", "")
    while after is not None:
        async with database.transaction() as conn:
            batch = await queries.batch(conn, after, limit=_BATCH)
            for place, sealed in batch:
                try:
                    rotated += await _renew(conn, keyring, first, place, sealed)
                except CannotDecrypt as error:
                    tenant_id, capability, name = place
                    unreadable.append(
                        Unreadable(tenant_id=tenant_id, capability=capability, name=name, reason=error.detail)
                    )
        after = batch[-1][0] if len(batch) == _BATCH else None
        done += len(batch)
        progress(done, max(done, total))
    if rotated:
        async with database.transaction() as conn:
            await audit.record(
                conn,
                origin,
                action="secrets.rotate",
                target="secrets",
                outcome="succeeded",
                after={"key_id": first, "rotated": rotated, "unreadable": len(unreadable)},
            )
    return Rotated(rotated=rotated, current=done - rotated - len(unreadable), unreadable=tuple(unreadable))


async def _renew(conn: Connection, keyring: Keyring, first: str, place: tuple[str, str, str], sealed: Sealed) -> int:
    """1 where it was under another key."""
    secret = keyring.open(sealed, *place)
    if sealed.key_id == first:
        return 0
    await queries.replace(conn, place, keyring.seal(secret, *place))
    return 1
