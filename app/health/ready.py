"""Whether this process can serve, by check."""

from typing import Final

from app.db.pool import Connection, Database
from app.db.readiness import Readiness
from app.errors import AppError
from app.health import queries
from app.health.schemas import Check, Health
from app.isolation import queries as isolation
from app.schema import files, script

_PASS: Final = Check(status="pass")


async def of_process(readiness: Readiness, database: Database) -> Health:
    """Passes where a connection is to be had, its own schema is in place, and jobs can be queued, until it is told to
    stop; warns where isolation has faults.
    """
    checks = {"startup": _startup(readiness)}
    try:
        async with database.connection() as conn:
            checks["database"] = _PASS if await queries.installed(conn) else _failed("schema_not_installed")
            if checks["startup"].status == checks["database"].status == "pass":
                checks |= await _service(conn)
    except AppError as error:
        checks["database"] = _failed(error.code)
    failed = any(check.status == "fail" for check in checks.values())
    warned = any(check.status == "warn" for check in checks.values())
    return Health(status="fail" if failed else "warn" if warned else "pass", checks=checks)


def _startup(readiness: Readiness) -> Check:
    if readiness.draining:
        return _failed("draining")
    return _PASS if readiness.ready else _failed("starting")


async def _service(conn: Connection) -> dict[str, Check]:
    """A schema that is newer than this process serves it too (docs/living-upgrades.md)."""
    version, queue = await queries.serves(conn)
    behind = version < script.latest(files.migrations())["control"]
    return {
        "schema": Check(status="fail", observed=version, reason="schema_outdated")
        if behind
        else Check(status="pass", observed=version),
        "queue": _PASS if queue else _failed("queue_unreachable"),
        "isolation": await _isolation(conn),
    }


async def _isolation(conn: Connection) -> Check:
    """What the hourly check found. A warning: whoever mends it needs the service, and its next start refuses."""
    report = await isolation.last(conn)
    if report.safe:
        return _PASS
    return Check(status="warn", observed=report.fault_count, reason="isolation_broken")


def _failed(reason: str) -> Check:
    return Check(status="fail", reason=reason)
