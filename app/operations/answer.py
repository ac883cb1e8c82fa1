"""How a request for long work is answered: at once with 202, or, if it prefers, when the work is done."""

import asyncio
from collections.abc import Awaitable, Callable, Set
from typing import Annotated, Final
from uuid import UUID, uuid4

from fastapi import Depends, Request

from app.audit.model import Origin
from app.db.pool import Connection, Database
from app.errors import AppError
from app.http.auth import Actor
from app.http.idempotency import Answer, IdempotentCall, replayed, with_headers
from app.log import about, logger
from app.operations.model import Operation, Status
from app.operations.schemas import OperationOut
from app.operations.waiter import Waiter

_log = logger(__name__)
_SUCCESS: Final = frozenset({Status.SUCCEEDED})


def new_id() -> UUID:
    """Of an operation to be."""
    return uuid4()


async def _waiter(request: Request) -> Waiter:
    waiter: Waiter = request.app.state.services.waiter
    return waiter


CurrentWaiter = Annotated[Waiter, Depends(_waiter)]


def origin_of(actor: Actor) -> Origin:
    return Origin(
        actor=actor.id,
        role=actor.role,
        request_id=actor.request_id,
        traceparent=actor.traceparent,
        source_address=actor.source_address,
    )


def accepted(operation: Operation, *, location: str) -> Answer:
    """202, where the resource will be and where to ask how it goes."""
    about(tenant_id=operation.tenant_id, operation_id=str(operation.id))
    headers = {"Location": location, "Operation-Location": f"/v1/operations/{operation.id}"}
    if not operation.status.terminal:
        headers["Retry-After"] = "1"
    return Answer(status=202, body=OperationOut.of(operation).model_dump(mode="json"), headers=headers)


async def start(
    database: Database,
    waiter: Waiter,
    call: IdempotentCall,
    *,
    wait: int | None,
    request: Callable[[Connection, UUID], Awaitable[Answer]],
    finished: Callable[[Connection, Operation], Awaitable[Answer]],
    ends: Set[Status] = _SUCCESS,
) -> Answer:
    """Commits what `request` stores, then waits as long as the client prefers.

    `finished` reads the resource that an operation left which has ended as it should, in one of `ends`; its
    answer replaces the 202 under the idempotency key before it is sent.
    """
    operation_id = new_id()
    with waiter.registered(operation_id) as event:
        answer = await call.once(database, lambda conn: request(conn, operation_id))
        if wait is None or replayed(answer) or answer.status != 202:
            return answer
        try:
            operation = await _end_of(waiter, answer, event, wait=wait, own=operation_id)
            answer = with_headers(answer, Preference_Applied=f"wait={wait}")
            if operation is None:
                return answer
            return await _answered(database, call, answer, operation, finished=finished, ends=ends)
        except AppError as error:
            # The work is stored, and 503 would say that it is not: the 202 in hand is the truth.
            _log.warning("wait_cut_short", reason=error.detail)
            return with_headers(answer, Preference_Applied=f"wait={wait}")


async def _end_of(waiter: Waiter, answer: Answer, event: asyncio.Event, *, wait: int, own: UUID) -> Operation | None:
    """The operation of a 202, ended or as it stands after the wait. A request may have joined one under way."""
    joined = UUID(answer.body["id"])
    if joined == own:
        return await waiter.wait(own, event, seconds=wait)
    with waiter.registered(joined) as other:
        return await waiter.wait(joined, other, seconds=wait)


async def _answered(
    database: Database,
    call: IdempotentCall,
    answer: Answer,
    operation: Operation,
    *,
    finished: Callable[[Connection, Operation], Awaitable[Answer]],
    ends: Set[Status],
) -> Answer:
    applied = {"Preference_Applied": answer.headers["Preference-Applied"]}
    if operation.status not in ends:
        return with_headers(accepted(operation, location=answer.headers["Location"]), **applied)
    # One write at most, so autocommit does.
    async with database.connection() as conn:
        done = await finished(conn, operation)
        done = with_headers(
            done,
            Location=answer.headers["Location"],
            Operation_Location=answer.headers["Operation-Location"],
            **applied,
        )
        await call.replace(conn, done)
    return done
