"""GET /livez, GET /readyz"""

from fastapi import APIRouter, Request, Response

from app.db.pool import Database
from app.db.readiness import Readiness
from app.errors import AppError
from app.health import queries
from app.health.schemas import Check, Health
from app.http.auth import Public

router = APIRouter(tags=["health"])


@router.get("/livez", summary="The process is alive", dependencies=[Public])
async def livez() -> Health:
    """Asks nothing of the database: a process that answers is alive."""
    return Health(status="pass", checks={})


@router.get(
    "/readyz",
    summary="The process can serve",
    dependencies=[Public],
    responses={503: {"model": Health, "description": "Not now; see the checks"}},
)
async def readyz(request: Request, response: Response) -> Health:
    """Ready: its own schema is in place, and the database answers."""
    readiness: Readiness = request.app.state.services.readiness
    checks = {"startup": Check(status="pass") if readiness.ready else Check(status="fail", reason="starting")}
    checks["database"] = await _database(request.app.state.services.database)
    failed = any(check.status == "fail" for check in checks.values())
    if failed:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return Health(status="fail" if failed else "pass", checks=checks)


async def _database(database: Database) -> Check:
    try:
        async with database.connection() as conn:
            installed = await queries.installed(conn)
            return Check(status="pass") if installed else Check(status="fail", reason="schema_not_installed")
    except AppError as error:
        return Check(status="fail", reason=error.code)
