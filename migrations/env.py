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
from logging.config import fileConfig

from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

DRIVERS = ("psycopg", "psycopg2", "asyncpg")


def driver_and_dsn() -> tuple[str, str]:
    """As bf-admin, through BF_DIRECT_DATABASE_URL where DATABASE_URL leads to a pooler."""
    url = os.environ.get("BF_DIRECT_DATABASE_URL") or os.environ.get("DATABASE_URL")
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


def migrate(connection: Connection) -> None:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()


def run(driver: str, dsn: str) -> None:
    module = importlib.import_module(driver)
    engine = create_engine(f"postgresql+{driver}://", poolclass=NullPool, creator=lambda: module.connect(dsn))
    with engine.connect() as connection:
        migrate(connection)


async def run_async(driver: str, dsn: str) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine  # needs greenlet, which the others do without

    module = importlib.import_module(driver)
    engine = create_async_engine(
        f"postgresql+{driver}://", poolclass=NullPool, async_creator=lambda: module.connect(dsn)
    )
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
