"""GET /v1/isolation"""

from fastapi import APIRouter
from fastapi.responses import Response

from app.http import conditional
from app.http.auth import CurrentViewer
from app.http.conditional import IfNoneMatch
from app.http.dependencies import Db, problems
from app.http.openapi import ETAG, NOT_MODIFIED
from app.isolation import queries
from app.isolation.schemas import IsolationOut

router = APIRouter(prefix="/v1/isolation", tags=["isolation"])


@router.get(
    "",
    summary="What the last look at isolation found",
    response_model=IsolationOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 422)},
)
async def get_isolation(db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """Who may get around row-level security, and which tenant's tables are not held by it: at the start of a process,
    and hourly. It is read, not looked for: `bf-admin isolation check` looks now.
    """
    async with db.connection() as conn:
        return conditional.answer(IsolationOut.of(await queries.last(conn)), known)
