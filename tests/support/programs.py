"""PostgreSQL's client programs with a pg_dump of a test's own."""

from pathlib import Path

from app.backups import tools
from app.db.pools import ddl_database
from app.settings import Settings


async def pg_dump_that(directory: Path, script: str, settings: Settings) -> Path:
    """A new directory where pg_dump is the script; the real one is `$REAL/pg_dump`, its version and pg_restore too."""
    async with ddl_database(settings, application_name="test") as database, database.connection() as conn:
        real = (await tools.find(None, at_least=conn.get_server_version().major)).directory
    directory.mkdir()
    (directory / "pg_restore").symlink_to(real / "pg_restore")
    program = directory / "pg_dump"
    program.write_text(f'#!/bin/sh\nREAL={real}\n[ "$1" = --version ] && exec "$REAL/pg_dump" --version\n{script}\n')
    program.chmod(0o755)
    return directory
