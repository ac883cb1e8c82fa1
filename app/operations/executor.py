"""Runs queued operations: claim, hand over, retry or fail. Knows no kind of operation."""

import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final, Protocol, TypeAlias
from uuid import UUID

from app.db.pool import Connection, Database
from app.db.retry import backoff
from app.errors import AppError, DatabaseError, Problem, Transient, Unavailable
from app.jobs.runner import RetryJob
from app.log import lines_about, logger, trace_id
from app.operations import queries, service
from app.operations.model import Claim, Operation, Progress, Status
from app.operations.rules import AllRules, cancelled_problem
from app.operations.service import CancelRequested, ClaimLost, Steps
from app.tracing import Tracing

_log = logger(__name__)
MAX_ATTEMPTS: Final = 5
# Whatever ends each worker that takes an operation up, or its database, must not do so for ever.
MAX_CLAIMS: Final = 50


class GaveUp(AppError):
    code = "gave_up"
    title = "No worker could end the operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One claimed operation. The handler ends it with operations.service.succeed() in its own transaction."""

    claim: Claim
    steps: Steps = field(default_factory=Steps)


class Handler(Protocol):
    async def run(self, work: Work) -> None:
        """Does the work. Transient is tried again, any other AppError is the operation's failure."""


@dataclass(slots=True, kw_only=True)
class Reporter:
    """Shows, between the items of long work, how far it is: at most four times a second, and after the last one.

    After each item it raises CancelRequested where the operation was asked to stop, ClaimLost where another
    worker has it.
    """

    database: Database
    work: Work
    _next: float = 0.0

    async def __call__(self, progress: Progress) -> None:
        self.work.steps.progress = progress
        shown = time.monotonic() < self._next and progress.done < progress.total
        async with self.database.connection() as conn:
            if shown and await queries.goes_on(conn, self.work.claim):
                return
            await service.report(conn, self.work.claim, self.work.steps)
        self._next = time.monotonic() + 0.25


# Turns what PostgreSQL said into what its operator must do.
Explain: TypeAlias = Callable[[Connection, DatabaseError], Awaitable[str]]


class Executor:
    """Called by the job runner with the id of an operation."""

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        rules: AllRules,
        *,
        explain: Explain,
        tracing: Tracing | None = None,
    ) -> None:
        self._database = database
        self._handlers = handlers
        self._rules = rules
        self._explain = explain
        self._tracing = tracing

    async def __call__(self, operation_id: UUID) -> None:
        """Raises RetryJob where the job must be delivered again."""
        try:
            async with self._database.connection() as conn:
                claim = await queries.claim(conn, operation_id)
        except (Unavailable, Transient) as error:
            raise RetryJob(timedelta(seconds=2), error.detail) from error
        if claim is None:
            return
        operation = claim.operation
        with (
            self._span(operation),
            lines_about(
                operation_id=str(operation.id),
                request_id=operation.request_id,
                tenant_id=operation.tenant_id,
                trace_id=trace_id(operation.traceparent),
            ),
        ):
            if operation.cancel_requested:
                await self._end(Work(claim=claim), Status.CANCELLED, cancelled_problem())
            elif operation.attempts > MAX_CLAIMS:
                await self._fail(Work(claim=claim), GaveUp(f"{MAX_CLAIMS} workers began this and none ended it."))
            else:
                await self._run(Work(claim=claim))

    def _span(self, operation: Operation) -> AbstractContextManager[None]:
        if self._tracing is None:
            return nullcontext()
        attributes: dict[str, str | int] = {
            "bf.operation.id": str(operation.id),
            "bf.operation.kind": operation.kind,
            "bf.operation.attempts": operation.attempts,
        }
        if operation.tenant_id is not None:
            attributes["bf.tenant.id"] = operation.tenant_id
        return self._tracing.job(f"run {operation.kind}", traceparent=operation.traceparent, attributes=attributes)

    async def _run(self, work: Work) -> None:
        operation = work.claim.operation
        try:
            await self._handlers[operation.kind].run(work)
        except ClaimLost:
            _log.warning("operation_taken_over", kind=operation.kind)
        except CancelRequested:
            await self._end(work, Status.CANCELLED, cancelled_problem())
        except (Unavailable, Transient) as error:
            if operation.attempts < MAX_ATTEMPTS or isinstance(error, Unavailable):
                await self._again(work, error)
            else:
                await self._fail(work, error)
        except AppError as error:
            await self._fail(work, error)
        except Exception:  # noqa: BLE001 -- logged whole; the operation must end
            _log.exception("operation_crashed", kind=operation.kind)
            await self._fail(work, None)
        else:
            _log.info("operation_succeeded", kind=operation.kind, attempts=operation.attempts)

    async def _again(self, work: Work, error: AppError) -> None:
        pause = timedelta(seconds=backoff(work.claim.operation.attempts, base=0.5, cap=30.0))
        _log.warning("operation_retried", reason=error.detail, pause=pause.total_seconds())
        try:
            async with self._database.transaction() as conn:
                await queries.release(conn, work.claim)
        except (Unavailable, Transient):
            pass  # it stays running without a worker, which a new claim takes over all the same
        raise RetryJob(pause, error.detail) from error

    async def _fail(self, work: Work, error: AppError | None) -> None:
        try:
            problem = await self._problem(error)
        except (Unavailable, Transient) as unavailable:
            raise RetryJob(timedelta(seconds=2), unavailable.detail) from unavailable
        await self._end(work, Status.FAILED, problem)

    async def _end(self, work: Work, status: Status, problem: Problem) -> None:
        operation = work.claim.operation
        if self._tracing is not None:
            self._tracing.failed(problem.code)
        try:
            async with self._database.transaction() as conn:
                await service.finish(conn, work.claim, status, error=problem.as_json(), steps=work.steps)
                await self._rules[operation.kind].ended(conn, operation, status, problem)
        except ClaimLost:
            _log.warning("operation_taken_over", kind=operation.kind)
        except (Unavailable, Transient) as unavailable:
            raise RetryJob(timedelta(seconds=2), unavailable.detail) from unavailable
        else:
            _log.warning(
                "operation_ended", kind=operation.kind, status=status, code=problem.code, detail=problem.detail
            )

    async def _problem(self, error: AppError | None) -> Problem:
        if error is None:
            return Problem(
                title="Internal error",
                status=500,
                detail="An unexpected error; see the worker's log.",
                code="internal_error",
            )
        detail = error.detail
        if isinstance(error, DatabaseError):
            async with self._database.connection() as conn:
                detail = await self._explain(conn, error)
        return Problem(title=error.title, status=500, detail=detail, code=error.code)
