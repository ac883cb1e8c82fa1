"""GET /v1/schema, GET /v1/schema/sql, POST /v1/schema/upgrade, POST /v1/schema/downgrade"""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from app.db.pool import Connection, Database
from app.http import conditional, idempotency
from app.http.auth import Actor, CurrentAdmin, CurrentOperator, CurrentViewer
from app.http.conditional import IfNoneMatch
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ACCEPTED, ETAG, NOT_MODIFIED, done
from app.http.prefer import WaitSeconds
from app.operations import answer as operation_answer
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Operation
from app.operations.schemas import OperationOut
from app.plans import service as plans
from app.plans.routes import SecondApprover
from app.schema import downgrade, files, requests, script, service
from app.schema.schemas import DowngradeIn, DowngradePlanOut, SchemaOut, UpgradeIn
from app.schema.script import Target

router = APIRouter(prefix="/v1/schema", tags=["schema"])
_LOCATION: Final = "/v1/schema"


async def _target(request: Request) -> Target:
    target: Target = request.app.state.services.target
    return target


CurrentTarget = Annotated[Target, Depends(_target)]


@router.get(
    "",
    summary="Versions, applied and pending migrations",
    response_model=SchemaOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 422)},
)
async def get_schema(db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """What is installed, what this release would add, and how many tenants are at which version."""
    async with db.connection() as conn:
        return conditional.answer(await _state(conn), known)


async def _state(conn: Connection) -> SchemaOut:
    return SchemaOut.of(await service.state(conn, files.migrations()))


@router.get(
    "/sql",
    summary="The upgrade as one SQL script",
    response_class=Response,
    responses={
        200: {
            "description": "A script for psql, which may be run again",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **problems(422),
    },
)
async def get_schema_sql(_: CurrentViewer, target: CurrentTarget) -> Response:
    """For a DBA to read, and to run as the role that is to own everything: psql -X -f upgrade.sql"""
    text = "\n".join(script.psql(files.migrations(), target)) + "\n"
    headers = {"Content-Disposition": 'attachment; filename="upgrade.sql"'}
    return Response(text, media_type="text/plain", headers=headers)


async def _finished(conn: Connection, _: Operation) -> Answer:
    state = await _state(conn)
    tag = conditional.tag_of(conditional.body_of(state))
    return Answer(status=200, body=state.model_dump(mode="json"), headers={"ETag": tag})


@router.post(
    "/upgrade",
    status_code=202,
    summary="Bring the shared schema, then every tenant, up to date",
    response_model=OperationOut,
    responses={
        200: done(SchemaOut, "Done within the preferred wait; of a dry run: the schema as it is, with what is pending"),
        202: ACCEPTED,
        **problems(400, 409, 413, 422),
    },
)
async def upgrade_schema(
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    key: Key,
    wait: WaitSeconds,
    body: UpgradeIn | None = None,
    validate_only: ValidateOnly = False,
) -> JSONResponse:
    """Idempotent. A request that comes while an upgrade is queued or running joins it.

    Each tenant commits by itself, so the operation shows its progress, and can be cancelled between two of them.
    """
    origin = origin_of(actor)

    async def request(conn: Connection, operation_id: UUID) -> Answer:
        operation = await requests.request_upgrade(conn, operation_id=operation_id, origin=origin)
        return operation_answer.accepted(operation, location=_LOCATION)

    if validate_only:
        async with db.transaction(keep=False) as conn:
            await request(conn, operation_answer.new_id())
            return JSONResponse((await _state(conn)).model_dump(mode="json"))

    call = idempotency.call(
        caller=actor.id, route="POST /v1/schema/upgrade", key=key, body=body or UpgradeIn.model_validate({})
    )
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=request, finished=_finished)
    return answer.response()


@router.post(
    "/downgrade",
    status_code=202,
    summary="Destroy every tenant and the shared schema, by plan and confirmation",
    response_model=OperationOut,
    responses={
        200: {
            "model": DowngradePlanOut | SchemaOut,
            "description": "The plan, with the confirmation to send back; or, done within the preferred wait, "
            "the schema as it is now",
        },
        202: ACCEPTED,
        **problems(400, 409, 413, 422),
    },
)
async def downgrade_schema(
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentAdmin,
    target: CurrentTarget,
    key: Key,
    wait: WaitSeconds,
    second_approver: SecondApprover,
    body: DowngradeIn | None = None,
    validate_only: ValidateOnly = False,
) -> JSONResponse:
    """Two calls. The first, without a body, drops nothing: it answers with the plan and a `confirmation`.

    The second, with that confirmation, is accepted only from the same caller, once, within ten minutes, and
    while there is exactly that to drop. API keys, operations and the audit trail stay.
    """
    wanted = body or DowngradeIn.model_validate({})
    if wanted.confirmation is None:
        return await _plan(db, actor, target, keep=not validate_only, needs_approval=second_approver)
    token, origin = wanted.confirmation, origin_of(actor)

    async def request(conn: Connection, operation_id: UUID) -> Answer:
        planned = await downgrade.plan(conn, target, measure=False)
        operation = await requests.request_downgrade(
            conn, planned, token, operation_id=operation_id, origin=origin, needs_approval=second_approver
        )
        return operation_answer.accepted(operation, location=_LOCATION)

    if validate_only:
        async with db.transaction(keep=False) as conn:
            await request(conn, operation_answer.new_id())
        return await _plan(db, actor, target, keep=False, needs_approval=second_approver)

    call = idempotency.call(caller=actor.id, route="POST /v1/schema/downgrade", key=key, body=wanted)
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=request, finished=_finished)
    return answer.response()


async def _plan(db: Database, actor: Actor, target: Target, *, keep: bool, needs_approval: bool) -> JSONResponse:
    """A plan is made anew each time: its confirmation is stored with no idempotency key."""
    async with db.transaction(keep=keep) as conn:
        planned = await downgrade.plan(conn, target, measure=False)
        told = DowngradePlanOut.of(planned)
        if not keep:
            return JSONResponse(told.model_dump(mode="json"))
        intent = planned.intent(told.document())
        offered = await plans.offer(conn, intent, actor=actor.id, needs_approval=needs_approval)
    return JSONResponse(told.offered(offered))
