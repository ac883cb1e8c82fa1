"""Rules of API keys: `bfk_ID.SECRET`, of which only an HMAC of the secret is stored.

A slow hash is for secrets that people choose. This one is 256 random bits: there is nothing to guess,
and each request would pay for it (libraries note: 130 ms).
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from app.apikeys import queries
from app.apikeys.model import ApiKey, Role
from app.db.pool import Connection
from app.errors import Invalid, InvalidCredentials
from app.keyring import read_or_make

PREFIX: Final = "bfk_"
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
        """Raises InvalidCredentials, with the same words whatever is wrong with the key."""
        key_id, secret = parts_of(presented)
        key = await queries.get(conn, key_id)
        if key is None or not self.is_secret_of(key, secret) or not key.usable:
            raise not_valid()
        return key

    def is_secret_of(self, key: ApiKey, secret: str) -> bool:
        """In constant time."""
        return hmac.compare_digest(self._hash(secret), key.secret_hash)

    async def create(
        self,
        conn: Connection,
        *,
        name: str,
        role: Role,
        created_by: str,
        tenant_id: str | None = None,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        replaces: str | None = None,
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
            expires_at=expires_at,
            expires_in=expires_in,
            replaces=replaces,
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


def parts_of(presented: str) -> tuple[str, str]:
    """Id and secret. Raises InvalidCredentials for what is no key."""
    match = _KEY.fullmatch(presented)
    if match is None:
        raise not_valid()
    return match[1], match[2]


def not_valid() -> InvalidCredentials:
    return InvalidCredentials("The API key is not valid.")


def _generate() -> NewKey:
    key_id = secrets.token_hex(8)
    return NewKey(id=key_id, key=f"bfk_{key_id}.{secrets.token_urlsafe(32)}")
