"""The jobs behind PATCH and DELETE /v1/tenants."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from app.audit import service as audit
from app.db.pool import Connection, Database
from app.errors import Problem
from app.operations import service as operations
from app.operations.executor import Reporter, Work
from app.operations.model import Operation, Progress, Status
from app.operations.rules import OUTCOMES, Rules
from app.tenants import bulk, bulk_queries
from app.tenants.bulk_model import Changes, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class ManyHandler:
    """A tenant, and what became of it, commit together: whoever takes over goes on with those that are pending.

    `change` is what is done to each; `done` is what the result calls that.
    """

    database: Database
    change: Callable[[Connection, Operation, str], Awaitable[Target]]
    step: str
    done: str

    async def run(self, work: Work) -> None:
        with work.steps.step(self.step):
            await self._change_all(work)
        async with self.database.transaction() as conn:
            counts = await bulk_queries.counts(conn, work.claim.operation.id)
            result: dict[str, Any] = {
                self.done: counts["changed"],
                "unchanged": counts["unchanged"],
                "refused": counts["refused"],
            }
            await operations.succeed(conn, work.claim, result=result, steps=work.steps)
            await _record(conn, work.claim.operation, Status.SUCCEEDED, result)

    async def _change_all(self, work: Work) -> None:
        operation = work.claim.operation
        report = Reporter(database=self.database, work=work)
        async with self.database.connection() as conn:
            counts = await bulk_queries.counts(conn, operation.id)
        total, last = sum(counts.values()), ""
        done = total - counts["pending"]
        while True:
            async with self.database.connection() as conn:
                tenant_ids = await bulk_queries.pending(conn, operation.id, after=last)
            if not tenant_ids:
                return
            for tenant_id in tenant_ids:
                async with self.database.transaction() as conn:
                    target = await self.change(conn, operation, tenant_id)
                    await bulk_queries.settle(conn, operation.id, target)
                    # Last: a tenant that somebody has locked keeps nobody from cancelling the operation.
                    await operations.require_claim(conn, work.claim)
                done, last = done + 1, tenant_id
                await report(Progress(done=done, total=total))


async def _change(conn: Connection, operation: Operation, tenant_id: str) -> Target:
    wanted = Changes.of(operation.parameters)
    return await bulk.change_one(conn, tenant_id, wanted, origin=operation.origin)


def change_handler(database: Database) -> ManyHandler:
    return ManyHandler(database=database, change=_change, step="change_tenants", done="changed")


def deletion_handler(database: Database) -> ManyHandler:
    return ManyHandler(database=database, change=bulk.delete_one, step="delete_tenants", done="deleted")


async def _ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    await _record(conn, operation, status, problem.as_json())


async def _record(conn: Connection, operation: Operation, status: Status, after: dict[str, Any]) -> None:
    await audit.record(
        conn, operation.origin, action=operation.kind, target="tenants", outcome=OUTCOMES[status], after=after
    )


CHANGE_RULES = Rules(ended=_ended, again=bulk.request_again)
DELETION_RULES = Rules(ended=_ended, again=None)
