"""Where backups are kept: a directory, or any URL that fsspec knows."""

import asyncio
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import fsspec

from app.backups.errors import BackupFailed

_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Store:
    """`url` holds no credentials: object stores take theirs from the environment.

    What goes wrong is told as BackupFailed, in the words of the store.
    """

    url: str

    def place(self, tenant_id: str, backup_id: UUID, token: UUID) -> str:
        """The URL of an archive to be; another one for each claim, so that a stale worker overwrites nothing."""
        return f"{self.url.rstrip('/')}/{tenant_id}/{backup_id}-{token.hex[:8]}.dump"

    async def put(self, local: Path, url: str, manifest: dict[str, Any]) -> None:
        """The archive, and beside it what it is of, for when the database is lost too."""
        await asyncio.to_thread(self._put, local, url, manifest)

    def _put(self, local: Path, url: str, manifest: dict[str, Any]) -> None:
        described = url.removesuffix(".dump") + ".json"
        try:
            files, path = fsspec.core.url_to_fs(url)
            on_disk = "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,))
            if on_disk:
                Path(path).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                Path(path).touch(mode=0o600)
            files.put_file(str(local), path)
            with fsspec.open(described, "w", encoding="utf-8") as file:
                if on_disk:
                    Path(fsspec.core.url_to_fs(described)[1]).chmod(0o600)
                json.dump(manifest, file, indent=2)
        except Exception as error:
            raise BackupFailed(f"Cannot write to {url}: {_reason(error)}. Mend that, or set BF_BACKUP_URL.") from error

    async def fetch(self, url: str, local: Path | None = None) -> tuple[str, int]:
        """The archive's SHA-256, in hex, and its size, as they are read; into the file `local`, if that is wanted."""
        return await asyncio.to_thread(self._fetch, url, local)

    def _fetch(self, url: str, local: Path | None) -> tuple[str, int]:
        digest, size = hashlib.sha256(), 0
        try:
            with fsspec.open(url, "rb") as source, (local or Path("/dev/null")).open("wb") as target:
                while piece := source.read(_CHUNK):
                    digest.update(piece)
                    size += len(piece)
                    target.write(piece)
        except Exception as error:
            raise BackupFailed(f"Cannot read {url}: {_reason(error)}.") from error
        return digest.hexdigest(), size


def _reason(error: Exception) -> str:
    """Without what a library may quote of a request."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ImportError):
        return str(error)
    return type(error).__name__
