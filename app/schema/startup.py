"""What every process of the service does first: have its own schema, and look whether it fits."""

from collections.abc import Sequence

from app.db.pool import Database
from app.schema import service, upgrade
from app.schema.script import Migration, Target


async def prepare(database: Database, migrations: Sequence[Migration], target: Target) -> None:
    """Migrates bf_control and bf_queue where that is needed, and compares settings.

    A process whose role owns nothing can start once an owner's has made them. Raises DatabaseError, naming
    the difference, where the database was made with other settings.
    """
    async with database.connection() as conn:
        pending = (await service.state(conn, migrations)).pending
    if any(migration.layer == "control" for migration in pending):
        await upgrade.run(database, migrations, target, layers=("control",))
    async with database.connection() as conn:
        await service.require_settings(conn, target)
