"""Rules of API keys: `bfk_ID.SECRET`, of which only an HMAC of the secret is stored.

A slow hash is for secrets that people choose. This one is 256 random bits: there is nothing to guess,
and each request would pay for it (libraries note: 130 ms).
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from app.apikeys import queries
from app.apikeys.model import ApiKey, Role
from app.db.pool import Connection
from app.errors import Invalid, NotFound, Unauthenticated
from app.keyring import read_or_make

_KEY: Final = re.compile(r"bfk_([a-z0-9]{16})\.([A-Za-z0-9_-]{43})")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """`key` is shown once."""

    id: str
    key: str


class Keys:
    """`pepper` is mixed into every hash: without it a copy of the table verifies nothing."""

    def __init__(self, pepper: str) -> None:
        self._pepper = pepper.encode()

    def _hash(self, secret: str) -> bytes:
        return hmac.digest(self._pepper, secret.encode(), "sha256")

    async def verify(self, conn: Connection, presented: str) -> ApiKey:
        """Raises Unauthenticated, with the same words whatever is wrong with the key."""
        match = _KEY.fullmatch(presented)
        key = None if match is None else await queries.get(conn, match[1])
        if match is None or key is None:
            raise Unauthenticated("The API key is not valid.")
        genuine = hmac.compare_digest(self._hash(match[2]), key.secret_hash)
        if not genuine or not key.usable:
            raise Unauthenticated("The API key is not valid.")
        return key

    async def create(
        self,
        conn: Connection,
        *,
        name: str,
        role: Role,
        created_by: str,
        tenant_id: str | None = None,
        expires_in: timedelta | None = None,
    ) -> NewKey:
        """Raises Invalid for a name that is empty or longer than 255 characters."""
        if not name.strip() or len(name) > 255 or "\0" in name:
            raise Invalid("A key's name has 1 to 255 characters.")
        new = _generate()
        await queries.insert(
            conn,
            key_id=new.id,
            name=name,
            role=role,
            tenant_id=tenant_id,
            secret_hash=self._hash(new.key.partition(".")[2]),
            created_by=created_by,
            expires_in=expires_in,
        )
        return new

    async def ensure_bootstrap_admin(self, conn: Connection, path: Path) -> str:
        """The admin key in the file at `path`, made (0600) if it is not there, known to the database.

        The same key after every restart. Raises Invalid where the file holds something else.
        """
        try:
            key = read_or_make(path, lambda: _generate().key)
        except OSError as error:
            raise Invalid(f"The bootstrap admin key cannot be kept in {path}: {error.strerror}.") from error
        match = _KEY.fullmatch(key)
        if match is None:
            raise Invalid(f"{path} does not hold an API key; remove it to have a new one made.")
        await queries.ensure_admin(conn, key_id=match[1], name="bootstrap", secret_hash=self._hash(match[2]))
        return key


async def revoke(conn: Connection, key_id: str) -> None:
    """Raises NotFound; revoking twice is fine."""
    if not await queries.revoke(conn, key_id):
        raise NotFound("There is no such API key.")


def _generate() -> NewKey:
    key_id = secrets.token_hex(8)
    return NewKey(id=key_id, key=f"bfk_{key_id}.{secrets.token_urlsafe(32)}")
