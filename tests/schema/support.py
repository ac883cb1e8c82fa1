"""A cluster without our roles, databases in it, copies of the migrations, and what a transaction did."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg
import pytest

from app.db.embedded import SUPERUSER
from app.db.pool import Connection, Database
from app.db.pools import ddl_database
from app.schema import files, upgrade
from app.schema.script import Migration, Target
from app.settings import Settings
from tests.support.cluster import MIGRATION_USER, Cluster
from tests.support.data import settings_for

ROOT = Path(__file__).resolve().parents[2]

# The longest id there may be: index names must not be cut.
LONGEST = "a" + "b" * 34 + "c"

# What belongs to others: a name that only looks like ours, and another application.
OTHERS = """
CREATE SCHEMA bfx_other;
CREATE TABLE bfx_other.budgets (id integer PRIMARY KEY, note text DEFAULT 'theirs');
INSERT INTO bfx_other.budgets VALUES (1);
CREATE SCHEMA billing AUTHORIZATION bf_migrator;
CREATE TABLE billing.invoice (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, total numeric(9, 2));
INSERT INTO billing.invoice (total) VALUES (1.50), (2.25);
CREATE VIEW billing.total AS SELECT sum(total) FROM billing.invoice;
CREATE FUNCTION billing.setup_tenant(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
"""

_STANDING = {MIGRATION_USER, SUPERUSER}
_ROLES = "SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname"


@dataclass(slots=True)
class Site:
    """An empty database in a cluster that has none of our roles. Whatever a test adds goes when it ends."""

    cluster: Cluster
    dsn: str
    others: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return database_of(self.dsn)

    def settings(self, **others: Any) -> Settings:
        return settings_for(self.dsn, **others)

    @asynccontextmanager
    async def database(self, **others: Any) -> AsyncIterator[Database]:
        async with ddl_database(self.settings(**others), application_name="test") as opened:
            yield opened

    async def upgrade(
        self, target: Target | None = None, *, migrations: tuple[Migration, ...] | None = None, dsn: str | None = None
    ) -> upgrade.Outcome:
        async with ddl_database(settings_for(dsn or self.dsn), application_name="test") as opened:
            return await upgrade.run(opened, migrations or files.migrations(), target or Target())

    @asynccontextmanager
    async def connect(self, dsn: str | None = None) -> AsyncIterator[asyncpg.Connection]:
        """As the migration user, unless `dsn` names another."""
        opened = await asyncpg.connect(dsn or self.dsn)
        try:
            yield opened
        finally:
            await opened.close()

    async def value(self, sql: str, *arguments: object) -> Any:
        async with self.connect() as conn:
            return await conn.fetchval(sql, *arguments)

    async def rows(self, sql: str, *arguments: object, superuser: bool = False) -> list[tuple[Any, ...]]:
        async with self.connect(self.cluster.superuser_dsn(self.name) if superuser else None) as conn:
            return [tuple(row) for row in await conn.fetch(sql, *arguments)]

    async def execute(self, sql: str) -> None:
        """As the superuser: it is others who meddle here."""
        async with self.connect(self.cluster.superuser_dsn(self.name)) as conn:
            await conn.execute(sql)

    async def another(self) -> str:
        """The migration user's DSN of one more database of the cluster."""
        dsn = await self.cluster.create_database()
        self.others.append(database_of(dsn))
        return dsn

    async def setup(self, *tenant_ids: str, shared: str = "bf_shared") -> None:
        async with self.connect() as conn:
            call = await conn.fetchval("SELECT format('SELECT %I.setup_tenant($1, $2, $3)', $1::text)", shared)
            for tenant_id in tenant_ids:
                assert await conn.fetchval(call, tenant_id, f"Tenant {tenant_id}", "tests") is True

    async def schemas(self) -> list[str]:
        rows = await self.rows(
            "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' "
            "AND nspname NOT IN ('information_schema', 'public') ORDER BY 1"
        )
        return [row[0] for row in rows]

    async def roles(self) -> list[str]:
        """Those that a test or an upgrade added to the cluster."""
        return [row[0] for row in await self.rows(_ROLES) if row[0] not in _STANDING]

    async def clean_up(self) -> None:
        for name in (self.name, *self.others):
            await self.cluster.drop_database(name)
        admin = await self.cluster.superuser("postgres")
        try:
            for row in await admin.fetch(_ROLES):
                if row[0] not in _STANDING:
                    await admin.execute(await admin.fetchval("SELECT format('DROP ROLE %I', $1::text)", row[0]))
        finally:
            await admin.close()


class Watched(Database):
    """Asks `question` at the end of each transaction, before it commits."""

    def __init__(self, dsn: str, question: str) -> None:
        super().__init__(dsn, max_size=4, application_name="watched", statement_cache=False)
        self.question = question
        self.answers: list[Any] = []

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with super().transaction() as conn:
            yield conn
            self.answers.append(await conn.fetchval(self.question))


def database_of(dsn: str) -> str:
    return dsn.rpartition("/")[2].partition("?")[0]


def copied_migrations(directory: Path) -> Path:
    """The migrations of this checkout, for a test to change."""
    root = directory / "migrations"
    for layer in ("control", "shared", "tenant"):
        shutil.copytree(files.root() / layer, root / layer)
    return root


class refused:  # noqa: N801 -- reads like pytest.raises
    """pytest.raises() in a savepoint, so that the transaction goes on; the block is undone."""

    def __init__(self, conn: asyncpg.Connection, error: type[Exception], match: str | None = None) -> None:
        self._savepoint = conn.transaction()
        self._raises = pytest.raises(error, match=match)

    async def __aenter__(self) -> pytest.ExceptionInfo[Any]:
        await self._savepoint.start()
        return self._raises.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        await self._savepoint.rollback()
        return bool(self._raises.__exit__(kind, error, trace))
