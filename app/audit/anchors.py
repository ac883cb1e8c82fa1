"""The head of the chain, signed and kept where who owns the database does not reach it.

A chain shows every change but one: that its end was cut off, and its record of where it ends with it. An anchor is that
record, elsewhere: a directory, or any URL that fsspec knows, one object for each, which is never written twice.
"""

import asyncio
import base64
import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

import fsspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from app.audit import canonical, chain_queries
from app.audit.model import Head
from app.db.pool import Database
from app.errors import AppError
from app.settings import Settings
from app.signing import private_key, public_key

# Of the anchors that are kept, how many of the newest a verification compares: what one of them says of the chain, it
# says of all that is before it.
_COMPARED: Final = 20


class AnchorError(AppError):
    code = "audit_anchor_failed"
    title = "The audit trail cannot be anchored"


def _key_id(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """`document` is what was written; `name` is where."""

    name: str
    document: dict[str, Any]

    @property
    def seq(self) -> int:
        return int(self.document["seq"])

    @property
    def hash(self) -> bytes:
        return bytes.fromhex(self.document["hash"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """`signing` is the worker's alone; who verifies needs no more than `verifying`."""

    url: str
    signing: Ed25519PrivateKey | None = None
    verifying: Ed25519PublicKey | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self | None:
        """None where no anchors are kept."""
        url, verify_key = settings.audit_anchor_url, settings.audit_public_key
        signing_key = settings.audit_signing_key.get_secret_value()
        if url is None:
            return None
        signing = private_key(signing_key) if signing_key else None
        verifying = public_key(verify_key) if verify_key else None
        return cls(url=url, signing=signing, verifying=verifying or (signing.public_key() if signing else None))

    async def write(self, head: Head, at: str) -> Anchor:
        """Raises AnchorError."""
        anchor = self._of(head, at)
        await asyncio.to_thread(self._put, anchor)
        return anchor

    def _of(self, head: Head, at: str) -> Anchor:
        said: dict[str, Any] = {"chain": str(head.chain_id), "seq": head.seq, "hash": head.hash.hex(), "at": at}
        if self.signing is not None:
            said["key_id"] = _key_id(self.signing.public_key())
            said["signature"] = base64.b64encode(self.signing.sign(canonical.canonical(said))).decode()
        return Anchor(name=f"{self._place(head)}/{head.seq:020d}.json", document=said)

    def _place(self, head: Head) -> str:
        return f"{self.url.rstrip('/')}/{head.chain_id}"

    def _put(self, anchor: Anchor) -> None:
        try:
            files, path = fsspec.core.url_to_fs(anchor.name)
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            if not files.exists(path):
                files.pipe_file(path, canonical.canonical(anchor.document) + b"\n")
        except Exception as error:
            detail = f"Cannot write to {self.url}: {_reason(error)}. Mend that, or BF_AUDIT_ANCHOR_URL."
            raise AnchorError(detail) from error

    async def newest(self, head: Head) -> list[Anchor]:
        """Those of this chain, newest first. Raises AnchorError."""
        return await asyncio.to_thread(self._newest, head)

    def _newest(self, head: Head) -> list[Anchor]:
        place = self._place(head)
        try:
            files, path = fsspec.core.url_to_fs(place)
            if not files.exists(path):
                return []
            files.invalidate_cache(path)
            names = sorted((name for name in files.ls(path, detail=False) if name.endswith(".json")), reverse=True)
            return [_read(name, files.cat_file(name)) for name in names[:_COMPARED]]
        except AnchorError:
            raise
        except Exception as error:
            raise AnchorError(f"Cannot read {place}: {_reason(error)}.") from error

    def genuine(self, anchor: Anchor, head: Head) -> bool:
        """Of this chain, and with our signature, where there is a key to tell."""
        document = dict(anchor.document)
        if document.get("chain") != str(head.chain_id):
            return False
        if self.verifying is None:
            return True
        signature = document.pop("signature", "")
        try:
            self.verifying.verify(base64.b64decode(signature), canonical.canonical(document))
        except (InvalidSignature, ValueError, TypeError):
            return False
        return True


def _read(name: str, content: bytes) -> Anchor:
    """Raises AnchorError for what is none."""
    short = Path(name).name
    try:
        anchor = Anchor(name=short, document=json.loads(content))
        if (anchor.seq, len(anchor.hash)) != (int(short.removesuffix(".json")), 32):
            raise AnchorError(f"The anchor {short} is of another place.")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AnchorError(f"The anchor {short} cannot be read.") from error
    return anchor


def _reason(error: Exception) -> str:
    """Without what a library may quote of a request."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, ImportError) else type(error).__name__


async def anchor(database: Database, kept: Anchors, *, every: timedelta | None) -> Anchor | None:
    """The head as it stands, where the last anchor is older than `every`; None where nothing is due, or new.

    Raises AnchorError.
    """
    async with database.transaction() as conn:
        at = await chain_queries.claim_anchor(conn, every)
        if at is None:
            return None
        head = await chain_queries.head(conn)
    try:
        written = await kept.write(head, at.isoformat())
    except AnchorError:
        async with database.connection() as conn:
            await chain_queries.anchor_failed(conn, every or timedelta())
        raise
    async with database.connection() as conn:
        await chain_queries.anchored(conn, head.seq)
    return written
