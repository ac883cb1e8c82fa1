"""Alembic's environment for our own revisions: `alembic -c migrations/alembic.ini upgrade head`.

The driver is the one that the URL names (`postgresql+psycopg://`, `+psycopg2`, `+asyncpg`), else the first
of these that is installed. It reads the URL itself, so sslmode, several hosts and the PG* variables mean
what they mean to it.
"""

import asyncio
import importlib
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

DRIVERS = ("psycopg", "psycopg2", "asyncpg")
WHERE = "SELECT quote_ident(current_schema()), quote_ident(current_user)"


def driver_and_dsn() -> tuple[str, str]:
    """As bf-admin, through BF_DIRECT_DATABASE_URL where DATABASE_URL leads to a pooler."""
    url = variable("BF_DIRECT_DATABASE_URL") or variable("DATABASE_URL")
    if not url:
        raise CommandError('DATABASE_URL is not set: export DATABASE_URL="postgresql://user:password@host/database"')
    match = re.fullmatch(r"postgres(?:ql)?(?:\+(\w+))?(://.*)", url, re.S)
    if match is None or (match[1] or DRIVERS[0]) not in DRIVERS:
        raise CommandError(f"DATABASE_URL has to start with postgresql:// or postgresql+{{{','.join(DRIVERS)}}}://")
    wanted = (match[1],) if match[1] else DRIVERS
    found = next((driver for driver in wanted if importlib.util.find_spec(driver)), None)
    if found is None:
        raise CommandError(f"No driver for PostgreSQL: pip install {wanted[0]}")
    return found, f"postgresql{match[2]}"


def variable(name: str) -> str | None:
    """Its value, or what the file that NAME_FILE names holds."""
    path = os.environ.get(f"{name}_FILE")
    if not path:
        return os.environ.get(name)
    if os.environ.get(name):
        raise CommandError(f"{name} and {name}_FILE are both set: leave one of the two")
    try:
        return Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{name}_FILE: {error}") from error


def migrate(connection: Connection) -> None:
    context.configure(connection=connection)
    try:
        with context.begin_transaction():
            context.run_migrations()
    except DBAPIError as error:
        if "CREATE TABLE alembic_version" not in str(error.statement) or sqlstate(error) != "42501":
            raise
        schema, role = connection.exec_driver_sql(WHERE).one()
        reason = str(error.orig).partition("\n")[0]
        raise CommandError(f"{reason}: GRANT CREATE ON SCHEMA {schema} TO {role};") from error


def sqlstate(error: DBAPIError) -> str | None:
    """Of each driver's own error: psycopg2 calls it pgcode."""
    return getattr(error.orig, "sqlstate", None) or getattr(error.orig, "pgcode", None)


@contextmanager
def explained(module: ModuleType) -> Iterator[None]:
    """Raises CommandError, which Alembic prints as one line, for what the driver says of a connection."""
    names = ("Error", "PostgresError", "InterfaceError")  # the last two are asyncpg's
    kinds = tuple(getattr(module, name) for name in names if hasattr(module, name))
    try:
        yield
    except (OSError, *kinds) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CommandError(f"Cannot connect: {reason}. bf-admin doctor says what mends it.") from error


def run(driver: str, dsn: str) -> None:
    module = importlib.import_module(driver)

    def connect() -> Any:
        with explained(module):
            return module.connect(dsn)

    engine = create_engine(f"postgresql+{driver}://", poolclass=NullPool, creator=connect)
    with engine.connect() as connection:
        migrate(connection)


async def run_async(driver: str, dsn: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine  # needs greenlet, which the others do without

    module = importlib.import_module(driver)

    async def connect() -> Any:
        with explained(module):
            return await module.connect(dsn)

    engine = create_async_engine(f"postgresql+{driver}://", poolclass=NullPool, async_creator=connect)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)


if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)
if context.is_offline_mode():
    context.configure(dialect_name="postgresql")
    with context.begin_transaction():
        context.run_migrations()
elif (choice := driver_and_dsn())[0] == "asyncpg":
    asyncio.run(run_async(*choice))
else:
    run(*choice)
