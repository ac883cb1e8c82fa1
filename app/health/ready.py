"""Whether this process can serve, by check."""

from app.db.pool import Database
from app.db.readiness import Readiness
from app.errors import AppError
from app.health import queries
from app.health.schemas import Check, Health
from app.isolation import queries as isolation


async def of_process(readiness: Readiness, database: Database) -> Health:
    """Passes where its own schema is in place, and the database answers; warns where isolation has faults."""
    checks = {"startup": Check(status="pass") if readiness.ready else Check(status="fail", reason="starting")}
    checks["database"] = await _database(database)
    if all(check.status == "pass" for check in checks.values()):
        checks["isolation"] = await _isolation(database)
    failed = any(check.status == "fail" for check in checks.values())
    warned = any(check.status == "warn" for check in checks.values())
    return Health(status="fail" if failed else "warn" if warned else "pass", checks=checks)


async def _isolation(database: Database) -> Check:
    """What the hourly check found. A warning: whoever mends it needs the service, and its next start refuses."""
    try:
        async with database.connection() as conn:
            report = await isolation.last(conn)
    except AppError as error:
        return Check(status="warn", reason=error.code)
    if report.safe:
        return Check(status="pass")
    return Check(status="warn", observed=report.fault_count, reason="isolation_broken")


async def _database(database: Database) -> Check:
    try:
        async with database.connection() as conn:
            installed = await queries.installed(conn)
            return Check(status="pass") if installed else Check(status="fail", reason="schema_not_installed")
    except AppError as error:
        return Check(status="fail", reason=error.code)
