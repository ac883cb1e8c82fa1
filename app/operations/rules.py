"""What each kind of operation adds to its end and to its repetition, and the two calls that need it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

from app.audit.model import Origin
from app.audit.queries import Outcome
from app.db.pool import Connection
from app.errors import Conflict, Problem
from app.operations import queries, service
from app.operations.model import Operation, Status
from app.operations.service import CancelRequested


class OperationFinished(Conflict):
    code = "operation_finished"
    title = "The operation has ended"


class OperationNotCancellable(Conflict):
    code = "operation_not_cancellable"
    title = "The operation cannot be cancelled now"


class OperationNotRetryable(Conflict):
    code = "operation_not_retryable"
    title = "The operation cannot be retried"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`ended`: what an end without success means to the domain, in the transaction that records it.

    `again`: the same work as a new operation, in the caller's transaction; None where that is not to be had.
    """

    ended: Callable[[Connection, Operation, Status, Problem], Awaitable[None]]
    again: Callable[[Connection, Operation, UUID, Origin], Awaitable[Operation]] | None


AllRules: TypeAlias = Mapping[str, Rules]

# What the audit trail calls an end.
OUTCOMES: Final[Mapping[Status, Outcome]] = {
    Status.SUCCEEDED: "succeeded",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}
# Seconds before each look of a cancellation. A claim, a report, or somebody else's cancellation has the row locked
# for a moment; a last step has it for as long as it takes.
_PAUSES: Final = (0, 0.02, 0.05, 0.1, 0.1)


def cancelled_problem() -> Problem:
    """The `error` of an operation that was cancelled."""
    return Problem(title=CancelRequested.title, status=409, detail=str(CancelRequested()), code=CancelRequested.code)


async def cancel(conn: Connection, operation_id: UUID, rules: AllRules) -> Operation:
    """Ends a queued operation; asks a running one to stop before its next item. Asking twice is fine.

    Raises OperationNotFound, OperationFinished, and OperationNotCancellable while its last step commits, or where
    a queued one is of a kind that only a newer release can end.
    """
    for pause in _PAUSES:
        await asyncio.sleep(pause)
        operation = await service.require(conn, operation_id)
        if _stopped(operation):
            return operation
        if operation.status.terminal:
            raise _finished(operation)
        locked = await queries.lock_unfinished(conn, operation.id)
        if locked is not None:
            await _stop(conn, locked, rules)
            return await service.require(conn, operation_id)
    raise OperationNotCancellable(
        "Its last step is being committed: wait for its end.", operation_status=operation.status
    )


def _stopped(operation: Operation) -> bool:
    """Nothing is left to be asked for."""
    asked = operation.cancel_requested and operation.status is Status.RUNNING
    return asked or operation.status is Status.CANCELLED


async def _stop(conn: Connection, locked: Operation, rules: AllRules) -> None:
    if locked.status is Status.RUNNING:
        await queries.request_cancel(conn, locked.id)
        return
    known = rules.get(locked.kind)
    if known is None:
        raise OperationNotCancellable(_unknown(locked), operation_status=locked.status)
    problem = cancelled_problem()
    await queries.cancel_queued(conn, locked.id, error=problem.as_json())
    await known.ended(conn, locked, Status.CANCELLED, problem)


def _finished(operation: Operation) -> OperationFinished:
    return OperationFinished(f"The operation has {operation.status} already.", operation_status=operation.status)


async def retry(conn: Connection, operation_id: UUID, rules: AllRules, *, new_id: UUID, origin: Origin) -> Operation:
    """A new operation for the same work. Raises OperationNotRetryable unless the old one failed or was cancelled."""
    operation = await service.require(conn, operation_id)
    if operation.status not in {Status.FAILED, Status.CANCELLED}:
        raise OperationNotRetryable(
            f"It is {operation.status}; only a failed or cancelled operation can be retried.",
            operation_status=operation.status,
        )
    known = rules.get(operation.kind)
    if known is None:
        raise OperationNotRetryable(_unknown(operation))
    if known.again is None:
        raise OperationNotRetryable(f"A {operation.kind} is confirmed anew each time: make a new plan.")
    return await known.again(conn, operation, new_id, origin)


def _unknown(operation: Operation) -> str:
    return f"This release knows no {operation.kind}; ask a newer one."
