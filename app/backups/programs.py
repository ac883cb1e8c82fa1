"""Running PostgreSQL's client programs: what they write is read here, so that none outlives this process for long."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from app.backups.errors import BackupFailed

_CHUNK: Final = 1024 * 1024
_SAID: Final = 4096


def connection(dsn: str) -> tuple[str, dict[str, str]]:
    """`dsn` without its password, which is for the environment: everybody may read what a program was started with."""
    parts = urlsplit(dsn)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    query = []
    environment = {"PGPASSWORD": unquote(password)} if password else {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name == "password":
            environment["PGPASSWORD"] = value
        elif name == "sslpassword":
            continue  # libpq takes it in a connection string alone
        else:
            query.append((name, value))
    netloc = f"{user}@{hosts}" if user else hosts
    return f"postgresql://{netloc}{parts.path}{'?' if query else ''}{urlencode(query)}", environment


async def output(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None
) -> AsyncGenerator[bytes, None]:
    """What the program writes, in pieces. Raises BackupFailed with what it complained of where it fails.

    It is killed when the iteration is left early; and where this process is killed, it meets a pipe that nobody reads.
    """
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, "LC_ALL": "C", "PGAPPNAME": "bf-admin backup", **(environment or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=pipe,
        stderr=pipe,
    )
    assert process.stdout is not None and process.stderr is not None  # noqa: S101, PT018 -- as they were asked for
    complaints = asyncio.create_task(_complaints(process.stderr))
    try:
        while piece := await process.stdout.read(_CHUNK):
            yield piece
        code, said = await process.wait(), await complaints
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        complaints.cancel()
    if code != 0:
        raise BackupFailed(_first(said) or f"{os.path.basename(command[0])} ended with {code}.")  # noqa: PTH119


async def _complaints(stream: asyncio.StreamReader) -> bytes:
    """Their beginning; all of it is read, or the program would wait."""
    said = b""
    while piece := await stream.read(_CHUNK):
        said = (said + piece)[:_SAID]
    return said


def _first(said: bytes) -> str:
    """The first error: what comes after it may quote SQL."""
    lines = said.decode(errors="replace").splitlines()
    errors = [line for line in lines if ": error: " in line] or lines
    return errors[0].strip()[:500] if errors else ""
