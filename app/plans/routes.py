"""GET /v1/plans/{id}, POST /v1/plans/{id}/approve"""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.db.pool import Connection
from app.http import conditional, idempotency
from app.http.auth import CurrentAdmin
from app.http.conditional import IfNoneMatch
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ETAG, NOT_MODIFIED
from app.operations.answer import origin_of
from app.plans import service
from app.plans.schemas import StoredPlanOut

router = APIRouter(prefix="/v1/plans/{plan_id}", tags=["plans"])


async def _second_approver(request: Request) -> bool:
    wanted: bool = request.app.state.services.second_approver
    return wanted


# Whether nobody destroys anything alone (BF_SECOND_APPROVER).
SecondApprover = Annotated[bool, Depends(_second_approver)]


class _Approval(BaseModel):
    """What a call is compared with under its idempotency key."""

    plan_id: str


@router.get(
    "",
    summary="Read a plan, to approve it or not",
    response_model=StoredPlanOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_plan(plan_id: str, db: Db, _: CurrentAdmin, known: IfNoneMatch) -> Response:
    """Until it expires. Its confirmation is known to nobody but who made it."""
    async with db.connection() as conn:
        return conditional.answer(StoredPlanOut.of(await service.require(conn, plan_id)), known)


@router.post(
    "/approve",
    summary="Approve a plan of somebody else's",
    response_model=StoredPlanOut,
    responses=problems(400, 404, 409, 413, 422),
)
async def approve_plan(
    plan_id: str, db: Db, actor: CurrentAdmin, key: Key, validate_only: ValidateOnly = False
) -> JSONResponse:
    """Whoever made it can then confirm it, until it expires. 403 for a plan of one's own."""

    async def work(conn: Connection) -> Answer:
        plan = await service.approve(conn, plan_id, origin=origin_of(actor))
        return Answer(status=200, body=StoredPlanOut.of(plan).model_dump(mode="json"))

    if validate_only:
        async with db.transaction(keep=False) as conn:
            return (await work(conn)).response()
    asked = _Approval.model_validate({"plan_id": plan_id})
    call = idempotency.call(caller=actor.id, route="POST /v1/plans/{plan_id}/approve", key=key, body=asked)
    return (await call.once(db, work)).response()
