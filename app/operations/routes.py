"""GET /v1/operations and GET /{id}, POST /{id}/cancel and /retry, GET /{id}/events"""

from collections.abc import Awaitable, Callable, Set
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel

from app.audit import service as audit
from app.db.pool import Connection, Database
from app.errors import BadRequest
from app.http import conditional, idempotency, pagination
from app.http.auth import Actor, CurrentOperator, CurrentViewer
from app.http.conditional import IfNoneMatch
from app.http.dependencies import Db, Tokens, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ACCEPTED, ETAG, EVENT, NOT_MODIFIED
from app.http.pagination import PageSize, PageToken
from app.http.prefer import WaitSeconds
from app.operations import answer as operation_answer
from app.operations import rules, service, stream
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import TERMINAL, Operation, Status
from app.operations.page_queries import OrderBy
from app.operations.rules import AllRules
from app.operations.schemas import OperationOut, OperationPage
from app.operations.service import OperationFilter
from app.operations.waiter import Waiter

router = APIRouter(prefix="/v1/operations", tags=["operations"])


async def _rules(request: Request) -> AllRules:
    found: AllRules = request.app.state.services.rules
    return found


KindRules = Annotated[AllRules, Depends(_rules)]


@router.get("", summary="List operations", response_model=OperationPage, responses=problems(400, 422))
async def list_operations(
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
    status: Annotated[Status | None, Query()] = None,
    kind: Annotated[
        str | None, Query(max_length=100, pattern=r"^[a-z_]+(\.[a-z_]+)*$", examples=["tenant.provision"])
    ] = None,
    tenant_id: Annotated[str | None, Query(max_length=36, pattern=r"^[^\x00-\x1f]*$")] = None,
    order_by: Annotated[OrderBy, Query()] = "-created_at",
) -> JSONResponse:
    """One page, the newest first unless asked otherwise. Kept for 30 days."""
    query = {"list": "operations", "status": status, "kind": kind, "tenant_id": tenant_id, "order_by": order_by}
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    if after is not None:
        pagination.require_timestamp(after[0])
        pagination.require_uuid(after[1])
    wanted = OperationFilter(status=status, kind=kind, tenant_id=tenant_id, order_by=order_by)
    async with db.connection() as conn:
        found, following = await service.page(conn, wanted, after=after, size=size)
    return pagination.answer([OperationOut.of(operation) for operation in found], tokens.issue(query, following))


@router.get(
    "/{operation_id}",
    summary="Read an operation",
    response_model=OperationOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_operation(operation_id: str, db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """Answers 200 whatever became of the work; `Retry-After` says when to ask again while it runs."""
    async with db.connection() as conn:
        operation = await service.require(conn, service.operation_id(operation_id))
    headers = {} if operation.status.terminal else {"Retry-After": "1"}
    return conditional.answer(OperationOut.of(operation), known, headers=headers)


class NoBody(BaseModel):
    """What a call without a body is compared with under its idempotency key."""

    operation_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A change of one operation: which, by whom, and how it is to be answered."""

    operation_id: UUID
    db: Database
    waiter: Waiter
    actor: Actor
    rules: AllRules
    key: str | None
    wait: int | None
    validate_only: bool

    async def answer(
        self, route: str, work: Callable[[Connection, UUID], Awaitable[Answer]], *, ends: Set[Status]
    ) -> JSONResponse:
        """Does `work`, once under its key; waited for, it is 200 with the operation once that is in one of `ends`."""
        if self.validate_only:
            async with self.db.transaction(keep=False) as conn:
                return JSONResponse((await work(conn, operation_answer.new_id())).body)
        call = idempotency.call(
            caller=self.actor.id, route=route, key=self.key, body=NoBody(operation_id=self.operation_id)
        )
        answer = await operation_answer.start(
            self.db, self.waiter, call, wait=self.wait, request=work, finished=_finished, ends=ends
        )
        return answer.response()


async def _asked(
    operation_id: str,
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    kinds: KindRules,
    key: Key,
    wait: WaitSeconds,
    validate_only: ValidateOnly = False,
) -> Asked:
    return Asked(
        operation_id=service.operation_id(operation_id),
        db=db,
        waiter=waiter,
        actor=actor,
        rules=kinds,
        key=key,
        wait=wait,
        validate_only=validate_only,
    )


async def _finished(_: Connection, operation: Operation) -> Answer:
    return Answer(status=200, body=OperationOut.of(operation).model_dump(mode="json"))


@router.post(
    "/{operation_id}/cancel",
    summary="Cancel an operation",
    response_model=OperationOut,
    responses={202: ACCEPTED, **problems(400, 404, 409, 413, 422)},
)
async def cancel_operation(asked: Annotated[Asked, Depends(_asked)]) -> JSONResponse:
    """200: it is cancelled. 202: it runs, and stops before its next item; what has committed stays.

    With `Prefer: wait=N`, 200 with the operation as it ended: it may have succeeded meanwhile. Work that is one
    transaction cannot be stopped once that has begun: 409, or its end, whichever comes first.
    """

    async def work(conn: Connection, _: UUID) -> Answer:
        operation = await rules.cancel(conn, asked.operation_id, asked.rules)
        await audit.record(
            conn,
            origin_of(asked.actor),
            action="operation.cancel",
            target=f"operation/{operation.id}",
            outcome="accepted",
        )
        if operation.status.terminal:
            return await _finished(conn, operation)
        return operation_answer.accepted(operation, location=f"/v1/operations/{operation.id}")

    return await asked.answer("POST /v1/operations/{operation_id}/cancel", work, ends=TERMINAL)


@router.post(
    "/{operation_id}/retry",
    status_code=202,
    summary="Do the work of a failed or cancelled operation again",
    response_model=OperationOut,
    responses={
        200: {"model": OperationOut, "description": "Done within the preferred wait, or, of a dry run, as it would be"},
        202: ACCEPTED,
        **problems(400, 404, 409, 413, 422),
    },
)
async def retry_operation(asked: Annotated[Asked, Depends(_asked)]) -> JSONResponse:
    """Answers with a new operation, whose `retry_of` is the old one; that stays as it ended.

    What was asked for is an operation, so a waited answer is one too; `Location` is the resource it works on.
    """
    origin = origin_of(asked.actor)

    async def work(conn: Connection, new_id: UUID) -> Answer:
        operation = await rules.retry(conn, asked.operation_id, asked.rules, new_id=new_id, origin=origin)
        location = "/v1/schema" if operation.tenant_id is None else f"/v1/tenants/{operation.tenant_id}"
        return operation_answer.accepted(operation, location=location)

    return await asked.answer("POST /v1/operations/{operation_id}/retry", work, ends={Status.SUCCEEDED})


class InvalidEventId(BadRequest):
    code = "invalid_last_event_id"
    title = "Not an event of this stream"


@router.get(
    "/{operation_id}/events",
    summary="Follow an operation as server-sent events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events `queued`, `running`, `progress`, `succeeded`, `failed`, `cancelled`; the data of "
            "each is the operation as it was then. The stream ends after the last one.",
            "content": {"text/event-stream": {"schema": EVENT}},
        },
        204: {"description": "The last event was seen: there is nothing more to come"},
        **problems(400, 404, 422),
    },
)
async def stream_operation_events(
    operation_id: str,
    db: Db,
    waiter: CurrentWaiter,
    _: CurrentViewer,
    last_event_id: Annotated[str | None, Header(description="Resume after this event")] = None,
) -> Response:
    """All that happened so far, then what happens, as it does. Reconnect with `Last-Event-ID` to miss nothing."""
    after = _event_number(last_event_id)
    async with db.connection() as conn:
        operation = await service.require(conn, service.operation_id(operation_id))
        newest = await stream.newest(conn, operation.id)
    if after > newest:
        raise InvalidEventId("There is no such event yet; without Last-Event-ID the stream starts at the first one.")
    if operation.status.terminal and after == newest:
        return Response(status_code=204)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    content = stream.follow(db, waiter, operation.id, after=after)
    return StreamingResponse(content, media_type="text/event-stream", headers=headers)


def _event_number(last_event_id: str | None) -> int:
    if last_event_id is None:
        return 0
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 10):
        raise InvalidEventId("Last-Event-ID is the id of an event of this stream, a whole number.")
    return int(last_event_id)
