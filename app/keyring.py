"""Encryption of what is kept and must not be readable in the database or a backup of it."""

import base64
import binascii
import hmac
import os
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from app.errors import AppError, Conflict

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class NoSecretKeys(Conflict):
    code = "secret_keys_missing"
    title = "There is no key to encrypt secrets with"

    def __init__(self) -> None:
        super().__init__(
            "Secrets cannot be stored: set BF_SECRET_KEYS, or BF_SECRET_KEYS_FILE (openssl rand -base64 32)."
        )


class CannotDecrypt(AppError):
    code = "cannot_decrypt"
    title = "The secret cannot be decrypted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """`key_id` tells which key opens it, and nothing of that key."""

    key_id: str
    ciphertext: bytes


def parse_keys(text: str) -> tuple[bytes, ...]:
    """Keys of 32 bytes in base64, between commas or white space. Raises ValueError, which holds no part of them."""
    keys = tuple(_key(number, word) for number, word in enumerate(re.split(r"[\s,]+", text.strip()), 1) if word)
    if len(set(keys)) != len(keys):
        raise ValueError("holds a key twice")
    return keys


def _key(number: int, word: str) -> bytes:
    try:
        key = base64.b64decode(word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(f"key {number} is not {KEY_BYTES} bytes in base64; make one with: openssl rand -base64 32")
    return key


def new_key() -> str:
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Key:
    """What is derived of one key, so that no use of it tells of another."""

    id: str
    encryption: bytes = field(repr=False)
    fingerprint: bytes = field(repr=False)


def _derived(key: bytes) -> _Key:
    return _Key(
        id=hmac.digest(key, b"bf:id", "sha256")[:8].hex(),
        encryption=hmac.digest(key, b"bf:encryption", "sha256"),
        fingerprint=hmac.digest(key, b"bf:fingerprint", "sha256"),
    )


class Keyring:
    """The first key encrypts, all of them decrypt.

    AES-256-GCM, not Fernet: what is encrypted is bound to its `context`, the names of the place it is kept in, so that
    a row that somebody moves to another tenant opens nothing.
    """

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        self._keys = tuple(map(_derived, keys))

    def __bool__(self) -> bool:
        return bool(self._keys)

    @property
    def current(self) -> str:
        """The id of the key that encrypts. Raises NoSecretKeys."""
        return self._first.id

    @property
    def _first(self) -> _Key:
        if not self._keys:
            raise NoSecretKeys
        return self._keys[0]

    def seal(self, secret: str, *context: str) -> Sealed:
        """Raises NoSecretKeys."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # takes 50 ms to load, and few commands need it

        key, nonce = self._first, os.urandom(_NONCE_BYTES)
        encrypted = AESGCM(key.encryption).encrypt(nonce, secret.encode(), _bound(context))
        return Sealed(key_id=key.id, ciphertext=nonce + encrypted)

    def open(self, sealed: Sealed, *context: str) -> str:
        """Raises CannotDecrypt, which says why."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        key = next((key for key in self._keys if key.id == sealed.key_id), None)
        if key is None:
            raise CannotDecrypt(f"its key {sealed.key_id} is not in BF_SECRET_KEYS")
        nonce, encrypted = sealed.ciphertext[:_NONCE_BYTES], sealed.ciphertext[_NONCE_BYTES:]
        try:
            return AESGCM(key.encryption).decrypt(nonce, encrypted, _bound(context)).decode()
        except (InvalidTag, ValueError):
            raise CannotDecrypt("it was altered, or belongs elsewhere") from None

    def fingerprints(self, secret: str, *context: str) -> list[str]:
        """One under each key, the first one's first: what tells whether a secret is the same, to whoever has the key.

        Raises NoSecretKeys.
        """
        first = self._first
        text = _bound((*context, secret))
        return [
            f"hmac-sha256:{key.id}:{hmac.digest(key.fingerprint, text, 'sha256').hex()}"
            for key in (first, *self._keys[1:])
        ]


def _bound(context: Sequence[str]) -> bytes:
    """One that no other context makes: each part has its length before it."""
    return b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in context)


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """The secret in the file at `path`, which is made (0600) if it is not there.

    Two processes that start at once agree: the file is linked into place whole, by the first.
    """
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(make() + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # somebody else was first, and theirs it is
    finally:
        draft.unlink()
    return path.read_text().strip()
