"""Settings and tenants for tests."""

from typing import Any, Final

import asyncpg

from app.schema import files, script
from app.settings import Settings
from tests.support import pooling

# The version of a tenant that is made now.
LATEST: Final = script.latest(files.migrations())["tenant"]


def settings_for(dsn: str, **others: Any) -> Settings:
    """Settings that no variable of the developer's shell can change. Nothing is collected but by tests of that."""
    urls = pooling.variables(dsn)
    direct = {"direct_database_url": urls.get("BF_DIRECT_DATABASE_URL"), "DATABASE_URL": urls["DATABASE_URL"]}
    return Settings.model_validate({**direct, "log_level": "WARNING", "collect_interval": 0, **others})


async def make_tenant(conn: asyncpg.Connection, tenant_id: str = "acme_corp", name: str = "ACME Corporation") -> str:
    """A tenant as psql makes it; returns the name of its schema."""
    await conn.execute("SELECT bf_shared.setup_tenant($1, $2, 'tests')", tenant_id, name)
    return f"bf_{tenant_id}"


async def schemas(conn: asyncpg.Connection) -> set[str]:
    """Every schema that is not PostgreSQL's own."""
    rows = await conn.fetch(
        "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')"
    )
    return {row["nspname"] for row in rows}


async def suspend(conn: asyncpg.Connection, tenant_id: str = "acme_corp") -> None:
    """As an operator would in SQL."""
    await conn.execute("SELECT bf_shared.suspend_tenant($1, 'tests')", tenant_id)
