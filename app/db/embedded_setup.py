"""The embedded database as `up` uses it: a server of its own, a migration user, a database."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import asyncpg

from app.db.embedded import Binaries, EmbeddedError, EmbeddedServer
from app.db.pool import Connection

URL_FILE: Final = "database-url"
_USER: Final = "bf_migrator"
_DATABASE: Final = "bf"
_PASSWORD_FILE: Final = "migrator-password"  # noqa: S105 -- a file's name

_HAS_USER = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)"
_HAS_DATABASE = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)"
_CREATE_USER = "SELECT format('CREATE ROLE %I LOGIN CREATEROLE PASSWORD %L', $1::text, $2::text)"
_SET_PASSWORD = "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)"  # noqa: S105 -- a statement
_CREATE_DATABASE = "SELECT format('CREATE DATABASE %I', $1::text)"
_GRANT = "SELECT format('GRANT CREATE ON DATABASE %I TO %I', $1::text, $2::text)"
_GRANT_PUBLIC = "SELECT format('GRANT CREATE ON SCHEMA public TO %I', $1::text)"


@contextmanager
def running(directory: Path, binaries: Binaries) -> Iterator[str]:
    """Yields the migration user's DATABASE_URL while the server runs.

    Raises EmbeddedError where another `up` has this directory: the first to end would stop the server for both.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (directory / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise EmbeddedError(f"{directory} is in use by another `bf-admin up`; choose --data-dir") from None
        with EmbeddedServer(directory, binaries=binaries) as server:
            password = _private_file(directory / _PASSWORD_FILE)
            asyncio.run(_ensure(server, password))
            url = server.url(user=_USER, password=password, database=_DATABASE)
            _write_private(directory / URL_FILE, url + "\n")
            yield url


async def _ensure(server: EmbeddedServer, password: str) -> None:
    """As the guide has it: a user with CREATEROLE, and CREATE on the database and on public; no superuser."""
    async with _superuser(server, "postgres") as conn:
        statement = _SET_PASSWORD if await conn.fetchval(_HAS_USER, _USER) else _CREATE_USER
        await conn.execute(await conn.fetchval(statement, _USER, password))
        if not await conn.fetchval(_HAS_DATABASE, _DATABASE):
            await conn.execute(await conn.fetchval(_CREATE_DATABASE, _DATABASE))
            await conn.execute(await conn.fetchval(_GRANT, _DATABASE, _USER))
            async with _superuser(server, _DATABASE) as inside:
                await inside.execute(await inside.fetchval(_GRANT_PUBLIC, _USER))


@asynccontextmanager
async def _superuser(server: EmbeddedServer, database: str) -> AsyncIterator[Connection]:
    url = server.url(user="postgres", password=server.superuser_password, database=database)
    conn = await asyncpg.connect(url)
    try:
        yield conn
    finally:
        await conn.close()


def _private_file(path: Path) -> str:
    if not path.exists():
        _write_private(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
