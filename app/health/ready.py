"""Whether this process can serve, by check."""

from app.db.pool import Database
from app.db.readiness import Readiness
from app.errors import AppError
from app.health import queries
from app.health.schemas import Check, Health


async def of_process(readiness: Readiness, database: Database) -> Health:
    """Passes where its own schema is in place, and the database answers."""
    checks = {"startup": Check(status="pass") if readiness.ready else Check(status="fail", reason="starting")}
    checks["database"] = await _database(database)
    failed = any(check.status == "fail" for check in checks.values())
    return Health(status="fail" if failed else "pass", checks=checks)


async def _database(database: Database) -> Check:
    try:
        async with database.connection() as conn:
            installed = await queries.installed(conn)
            return Check(status="pass") if installed else Check(status="fail", reason="schema_not_installed")
    except AppError as error:
        return Check(status="fail", reason=error.code)
