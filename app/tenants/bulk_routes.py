"""POST /v1/tenants/batch, PATCH and DELETE /v1/tenants, GET /v1/operations/{id}/targets"""

from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from app.catalog.schemas import FeatureName, TierName
from app.db.pages import cut
from app.db.pool import Connection
from app.errors import FieldError, Invalid
from app.http import idempotency, pagination
from app.http.auth import CurrentAdmin, CurrentOperator, CurrentViewer
from app.http.dependencies import Db, Tokens, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ACCEPTED, merge_patch
from app.http.pagination import PageSize, PageToken
from app.http.prefer import WaitSeconds
from app.http.values import Reason
from app.integrations.routes import CurrentRules
from app.operations import answer as operation_answer
from app.operations import service as operations
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Operation
from app.operations.schemas import OperationOut
from app.plans import service as plans
from app.plans.routes import SecondApprover
from app.plans.schemas import Token
from app.registry.model import State
from app.registry.service import TenantFilter
from app.tenants import batch, bulk, bulk_queries, loss
from app.tenants.batch_schemas import BatchOut, TenantBatch
from app.tenants.bulk_model import Status
from app.tenants.bulk_schemas import PreviewOut, TargetOut, TargetPage, TenantsPatch
from app.tenants.lifecycle_routes import DeleteGrace
from app.tenants.loss_schemas import DeletionPlanOut
from app.tenants.schemas import SearchedFor

router = APIRouter(tags=["tenants"])


@router.post(
    "/v1/tenants/batch",
    summary="Provision many tenants, each with its own outcome",
    response_model=BatchOut,
    responses=problems(400, 409, 413, 422),
)
async def create_tenants(
    body: TenantBatch,
    db: Db,
    actor: CurrentOperator,
    key: Key,
    rules: CurrentRules,
    validate_only: ValidateOnly = False,
) -> JSONResponse:
    """Up to 500. 200 whatever became of the items: `status` and `problem` of each say so, with pointers into this
    request's body. What is accepted is stored together, and made one by one. The key is that of the whole.
    """
    origin = origin_of(actor)

    async def store(conn: Connection) -> Answer:
        outcomes = await batch.request_all(conn, body.tenants, origin=origin, caller=actor.name, integrations=rules)
        answer = BatchOut.of(outcomes, dry=validate_only)
        return Answer(status=200, body=answer.model_dump(mode="json"))

    if validate_only:
        async with db.transaction(keep=False) as conn:
            return (await store(conn)).response()
    call = idempotency.call(caller=actor.id, route="POST /v1/tenants/batch", key=key, body=body)
    return (await call.once(db, store)).response()


async def _filter(
    state: Annotated[State | None, Query(description="Deleted tenants only if asked for")] = None,
    tier: Annotated[TierName | None, Query()] = None,
    feature: Annotated[FeatureName | None, Query(description="A feature that is enabled")] = None,
    schema_version: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    q: Annotated[SearchedFor | None, Query(description="Part of id or name")] = None,
    everyone: Annotated[bool, Query(alias="all", description="Without any filter, every tenant")] = False,
) -> TenantFilter:
    """Raises Invalid for no filter, unless all are asked for: one that was forgotten must not mean everybody."""
    wanted = TenantFilter(state=state, tier=tier, feature=feature, schema_version=schema_version, contains=q)
    if (wanted == TenantFilter()) is not everyone:
        detail = "goes without filters" if everyone else "must be true, to mean every tenant: there is no filter"
        raise Invalid("The request is not valid; see errors.", errors=[FieldError(pointer="query/all", detail=detail)])
    return wanted


Fitting = Annotated[TenantFilter, Depends(_filter)]
_DONE: Final[dict[str, Any]] = {
    "model": PreviewOut | OperationOut,
    "description": "Of a dry run, how many tenants it touches, and what would become of the first; or, done within the "
    "preferred wait, the operation",
}


_PLANNED: Final[dict[str, Any]] = {
    "model": DeletionPlanOut | OperationOut,
    "description": "The plan, with the confirmation to send back; or, done within the preferred wait, the operation",
}


@router.patch(
    "/v1/tenants",
    status_code=202,
    summary="Change tier, features and limits of all tenants that fit the filters",
    response_model=OperationOut,
    responses={200: _DONE, 202: ACCEPTED, **problems(400, 413, 422)},
    openapi_extra=merge_patch("TenantsPatch"),
)
async def patch_tenants(
    body: TenantsPatch,
    actor: CurrentOperator,  # before the filters, which a stranger's request need not have right
    fitting: Fitting,
    db: Db,
    waiter: CurrentWaiter,
    wait: WaitSeconds,
    validate_only: ValidateOnly = False,
) -> JSONResponse:
    """Who fits now is changed, one tenant at a time; look first with `validate_only`. The operation shows its progress
    and can be cancelled between two tenants; `Location` lists what became of each. A tenant that refuses stops none.
    """
    origin, wanted = origin_of(actor), body.changes()

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        await bulk.require_valid(conn, wanted)
        operation = await bulk.request(conn, fitting, wanted, operation_id=operation_id, origin=origin)
        return operation_answer.accepted(operation, location=f"/v1/operations/{operation_id}/targets")

    if validate_only:
        async with db.transaction(keep=False) as conn:
            await bulk.require_valid(conn, wanted)
            tenants, tried = await bulk.preview(conn, fitting, wanted, origin=origin)
        return JSONResponse(PreviewOut.of(tenants, tried).model_dump(mode="json"))

    async def finished(_: Connection, operation: Operation) -> Answer:
        return Answer(status=200, body=OperationOut.of(operation).model_dump(mode="json"))

    call = idempotency.without_key()
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=finished)
    return answer.response()


@router.delete(
    "/v1/tenants",
    status_code=202,
    summary="Delete all tenants that fit the filters, by plan and confirmation",
    response_model=OperationOut,
    responses={200: _PLANNED, 202: ACCEPTED, **problems(400, 409, 422)},
)
async def delete_tenants(
    actor: CurrentAdmin,
    fitting: Fitting,
    db: Db,
    waiter: CurrentWaiter,
    wait: WaitSeconds,
    grace: DeleteGrace,
    second_approver: SecondApprover,
    confirmation: Annotated[Token | None, Query(description="The plan's")] = None,
    reason: Annotated[Reason | None, Query(description="Why, for whoever asks later")] = None,
    validate_only: ValidateOnly = False,
) -> JSONResponse:
    """Two calls. The first deletes nobody: it answers with who would go, and a `confirmation`. The second, with that
    and the same filters, is accepted from the same caller, once, within ten minutes, and while exactly they fit.

    Each is then deleted as by `DELETE /v1/tenants/{id}`, in a transaction of its own, and kept until its `purge_time`.
    """
    origin = origin_of(actor)

    async def store(conn: Connection, operation_id: UUID, token: str) -> Answer:
        intent, _, going = await loss.deletion(conn, fitting)
        confirmed = await plans.use_up(conn, token, intent, actor=actor.id, needs_approval=second_approver)
        operation = await bulk.request_deletion(
            conn,
            going,
            operation_id=operation_id,
            reason=reason,
            grace=grace,
            confirmed=confirmed,
            origin=origin,
        )
        return operation_answer.accepted(operation, location=f"/v1/operations/{operation_id}/targets")

    if confirmation is None or validate_only:
        async with db.transaction(keep=not validate_only) as conn:
            if confirmation is not None:
                await store(conn, operation_answer.new_id(), confirmation)
            intent, plan, _ = await loss.deletion(conn, fitting)
            if validate_only:
                return JSONResponse(plan.model_dump(mode="json"))
            offered = await plans.offer(conn, intent, actor=actor.id, needs_approval=second_approver)
        return JSONResponse(plan.offered(offered))

    async def finished(_: Connection, operation: Operation) -> Answer:
        return Answer(status=200, body=OperationOut.of(operation).model_dump(mode="json"))

    call = idempotency.without_key()
    answer = await operation_answer.start(
        db, waiter, call, wait=wait, request=lambda conn, new: store(conn, new, confirmation), finished=finished
    )
    return answer.response()


@router.get(
    "/v1/operations/{operation_id}/targets",
    summary="What became of each tenant of a change, or deletion, of many",
    response_model=TargetPage,
    responses=problems(400, 404, 422),
)
async def list_targets(
    operation_id: str,
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
    status: Annotated[Status | None, Query()] = None,
) -> JSONResponse:
    """By tenant id. None for an operation of another kind."""
    found = operations.operation_id(operation_id)
    query, size = {"list": "targets", "operation": str(found), "status": status}, pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    async with db.connection() as conn:
        await operations.require(conn, found)
        last = "" if after is None else after[1]
        targets = await bulk_queries.page(conn, found, status=status, after=last, limit=size + 1)
    page, following = cut(targets, size, lambda target: (target.tenant_id, target.tenant_id))
    return pagination.answer([TargetOut.of(target) for target in page], tokens.issue(query, following))
