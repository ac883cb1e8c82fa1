"""GET /livez, GET /readyz"""

from fastapi import APIRouter, Request, Response

from app.health import ready
from app.health.schemas import Health
from app.http.auth import Public
from app.http.dependencies import HttpServices

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
    services: HttpServices = request.app.state.services
    found = await ready.of_process(services.readiness, services.database)
    if found.status == "fail":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return found
