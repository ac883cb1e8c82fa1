"""POST /v1/tenants/{id}/verify and /repair; POST /v1/schema/verify and /repair"""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from app.db.pool import Connection, Database
from app.http import idempotency
from app.http.auth import Actor, CurrentOperator
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ACCEPTED
from app.http.prefer import WaitSeconds
from app.operations import answer as operation_answer
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Kind, Operation
from app.operations.schemas import OperationOut
from app.operations.waiter import Waiter
from app.schema.expected import ExpectedTenants
from app.tenants import fleet, repairing, verifying
from app.tenants.repair_schemas import RepairIn, RepairOf, RepairPlanOut, VerificationOut

router = APIRouter(tags=["verification"])


async def _expected(request: Request) -> ExpectedTenants:
    expected: ExpectedTenants = request.app.state.services.expected
    return expected


Expected = Annotated[ExpectedTenants, Depends(_expected)]
_DONE: Final = {"model": OperationOut, "description": "Done within the preferred wait; of a dry run: as it would be"}


@router.post(
    "/v1/tenants/{tenant_id}/verify",
    summary="Compare a tenant's catalogue with what it must be",
    response_model=VerificationOut,
    responses=problems(400, 404, 409, 422),
)
async def verify_tenant(tenant_id: str, db: Db, expected: Expected, _: CurrentOperator) -> JSONResponse:
    """Tables, columns, constraints, indexes, row-level security, policies, grants, triggers and owners, as the tenant's
    schema version and state have them. It changes nothing.
    """
    verdict = await verifying.verify(db, expected, tenant_id)
    return JSONResponse(VerificationOut.of(verdict.found.difference).model_dump(mode="json"))


@router.post(
    "/v1/tenants/{tenant_id}/repair",
    status_code=202,
    summary="Put a tenant's catalogue right",
    response_model=OperationOut,
    responses={
        200: {
            "model": OperationOut | RepairPlanOut,
            "description": "Done within the preferred wait; of a dry run, what would be done",
        },
        202: ACCEPTED,
        **problems(400, 404, 409, 413, 422),
    },
)
async def repair_tenant(
    tenant_id: str,
    db: Db,
    expected: Expected,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    key: Key,
    wait: WaitSeconds,
    body: RepairIn | None = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """What a transaction can mend in one; then indexes concurrently, on tables that are in use. `result` says what was
    made, removed and altered, and what was kept because somebody has added it. A table that is gone is made empty.

    Where some of it cannot be mended the operation fails (`tenant_not_repaired`), and says what and why.
    """
    wanted = body or RepairIn.model_validate({})

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        operation = await repairing.request_repair(
            conn, tenant_id, drop_extra=wanted.drop_extra, operation_id=operation_id, origin=origin_of(actor)
        )
        return operation_answer.accepted(operation, location=f"/v1/tenants/{tenant_id}")

    if validate_only:
        planned = await repairing.plan(db, expected, tenant_id, drop_extra=wanted.drop_extra)
        return JSONResponse(RepairPlanOut.of(planned).model_dump(mode="json"))
    route, asked = "POST /v1/tenants/{tenant_id}/repair", RepairOf.of(tenant_id, body)
    call = idempotency.call(caller=actor.id, route=route, key=key, body=asked)
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=_finished)
    return answer.response()


async def _finished(_: Connection, operation: Operation) -> Answer:
    return Answer(status=200, body=OperationOut.of(operation).model_dump(mode="json"))


@router.post(
    "/v1/schema/verify",
    status_code=202,
    summary="Compare every tenant's catalogue with what it must be",
    response_model=OperationOut,
    responses={200: _DONE, 202: ACCEPTED, **problems(400, 409, 422)},
)
async def verify_tenants(
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    key: Key,
    wait: WaitSeconds,
    validate_only: ValidateOnly = False,
) -> Response:
    """One tenant after the other; `result` counts and names those that have drifted. Between two of them it can be
    cancelled. A request that comes while such an operation is under way joins it.
    """
    return await _fleet(db, waiter, actor, Kind.FLEET_VERIFY, None, key=key, wait=wait, validate_only=validate_only)


@router.post(
    "/v1/schema/repair",
    status_code=202,
    summary="Put every tenant's catalogue right",
    response_model=OperationOut,
    responses={200: _DONE, 202: ACCEPTED, **problems(400, 409, 413, 422)},
)
async def repair_tenants(
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    key: Key,
    wait: WaitSeconds,
    body: RepairIn | None = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Those that are not as expected, one after the other, each as `POST /v1/tenants/{tenant_id}/repair` does it. One
    that cannot be mended stops none; the operation fails in the end, and names it.
    """
    return await _fleet(db, waiter, actor, Kind.FLEET_REPAIR, body, key=key, wait=wait, validate_only=validate_only)


async def _fleet(
    db: Database,
    waiter: Waiter,
    actor: Actor,
    kind: Kind,
    body: RepairIn | None,
    *,
    key: str | None,
    wait: int | None,
    validate_only: bool,
) -> Response:
    parameters = {} if kind is Kind.FLEET_VERIFY else {"drop_extra": body is not None and body.drop_extra}

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        operation = await fleet.request(
            conn, kind, parameters=parameters, operation_id=operation_id, origin=origin_of(actor)
        )
        return operation_answer.accepted(operation, location="/v1/tenants")

    if validate_only:
        async with db.transaction(keep=False) as conn:
            return JSONResponse((await store(conn, operation_answer.new_id())).body)
    route = f"POST /v1/schema/{'verify' if kind is Kind.FLEET_VERIFY else 'repair'}"
    call = idempotency.call(caller=actor.id, route=route, key=key, body=RepairOf.of(None, body))
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=_finished)
    return answer.response()
