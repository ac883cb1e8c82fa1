"""The database of an installation, for commands that make none."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.cli.output import database
from app.db.pool import Database
from app.schema import files, startup
from app.schema import queries as installation
from app.schema.service import SchemaNotInstalled
from app.settings import Settings


@asynccontextmanager
async def installed(loaded: Settings) -> AsyncIterator[Database]:
    """With the service's own schema up to date. Raises SchemaNotInstalled rather than making anything elsewhere."""
    async with database(loaded) as db:
        async with db.connection() as conn:
            if not await installation.installed(conn):
                raise SchemaNotInstalled("Install the schema first: bf-admin upgrade.")
        await startup.prepare(db, files.migrations(), files.target(loaded))
        yield db
