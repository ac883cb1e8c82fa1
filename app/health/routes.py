"""GET /livez, GET /readyz, GET /health"""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from app.errors import Transient, Unavailable
from app.health import ready
from app.health.schemas import MEDIA_TYPE, Health, HealthSummary
from app.health.summary import PATIENCE, Kept, Summary
from app.http import conditional
from app.http.auth import Actor, Public, RequireRole, is_known
from app.http.dependencies import PROBLEMS, HttpServices, problems
from app.http.openapi import ETAG, IF_NONE_MATCH, NOT_MODIFIED
from app.roles import Role

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
    """Ready: a connection is to be had, its own schema is in place, and jobs can be queued. Not any more once the
    process was told to stop.
    """
    services: HttpServices = request.app.state.services
    found = await ready.of_process(services.readiness, services.database)
    if found.status == "fail":
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return found


class _ViewerOfAnything(RequireRole):
    """As any other role, and nobody where the database does not say in time who it is."""

    async def __call__(self, request: Request) -> Actor | None:  # type: ignore[override]
        if is_known(request):
            return await super().__call__(request)
        asking = asyncio.create_task(super().__call__(request))
        done, _ = await asyncio.wait({asking}, timeout=PATIENCE)
        if not done:
            asking.cancel()  # and is not waited for: its connection may take its time to be given back
            asking.add_done_callback(_forget)
            return None
        try:
            return asking.result()
        except (Unavailable, Transient):
            return None


def _forget(asking: asyncio.Task[Actor]) -> None:
    """Nobody is there any more to hear why it failed."""
    if not asking.cancelled():
        asking.exception()


class _HealthResponse(JSONResponse):
    media_type = MEDIA_TYPE


_UNWELL: Final[dict[str, Any]] = {
    "description": "It fails; see the checks",
    "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/HealthSummary"}}, **PROBLEMS[503]["content"]},
}


@router.get(
    "/health",
    summary="How the service is: one verdict, and its checks",
    response_model=HealthSummary,
    response_class=_HealthResponse,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 422), 503: _UNWELL},
    openapi_extra={"parameters": [IF_NONE_MATCH]},
)
async def get_health(
    request: Request, viewer: Annotated[Actor | None, Depends(_ViewerOfAnything(Role.VIEWER))]
) -> Response:
    """For dashboards to poll: the database is looked at once in `BF_HEALTH_INTERVAL` seconds, however many ask. 200
    where it passes or warns, 503 where it fails.
    """
    summary: Summary = request.app.state.services.summary
    kept = summary.without_database() if viewer is None else await summary.get()
    if "if-none-match" in request.headers and await _is_known(request, kept):
        return Response(status_code=304, headers={"ETag": kept.tag, "Cache-Control": "private, no-cache"})
    headers = {"ETag": kept.tag, "Cache-Control": "private, no-cache"}
    if kept.status_code == 503:
        headers["Retry-After"] = "2"
    return Response(kept.body, status_code=kept.status_code, media_type=MEDIA_TYPE, headers=headers)


async def _is_known(request: Request, kept: Kept) -> bool:
    """Asked of the request itself, as a dependency would be a part of what an answer takes. A failure is always told.

    Raises InvalidEntityTag.
    """
    known = await conditional.if_none_match(request.headers.getlist("If-None-Match"))
    return kept.status_code == 200 and known is not None and known.match_weakly(kept.tag)
