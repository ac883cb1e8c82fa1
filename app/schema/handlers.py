"""The jobs behind POST /v1/schema/upgrade and POST /v1/schema/downgrade."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.audit import service as audit
from app.audit.model import Origin
from app.db.pool import Connection, Database
from app.errors import AppError, Problem
from app.operations import service as operations
from app.operations.executor import Reporter, Work
from app.operations.model import Operation, Progress, Status
from app.operations.rules import OUTCOMES, Rules
from app.schema import downgrade, requests, upgrade
from app.schema.expected import ExpectedTenants
from app.schema.script import Migration, Target


class TenantsNotUpgraded(AppError):
    """The shared schema is up to date, some tenants are not; the next upgrade tries those again."""

    code = "tenants_not_upgraded"
    title = "Some tenants could not be upgraded"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeHandler:
    database: Database
    migrations: Sequence[Migration]
    target: Target
    expected: ExpectedTenants

    async def run(self, work: Work) -> None:
        report = Reporter(database=self.database, work=work)

        async def between(reached: upgrade.Progress) -> None:
            await report(Progress(done=reached.done, total=reached.total))

        with work.steps.step("upgrade"):
            outcome = await upgrade.run(self.database, self.migrations, self.target, between=between)
        self.expected.forget()
        if outcome.failed:
            named = "; ".join(f"{tenant_id}: {why}" for tenant_id, why in list(outcome.failed.items())[:5])
            raise TenantsNotUpgraded(f"{len(outcome.failed)} tenants were not upgraded: {named}")
        result = {
            "applied": outcome.applied,
            "tenants_upgraded": len(outcome.upgraded),
            "warnings": outcome.warnings,
        }
        await _succeed(self.database, work, result)


@dataclass(frozen=True, slots=True, kw_only=True)
class DowngradeHandler:
    database: Database
    target: Target
    expected: ExpectedTenants

    async def run(self, work: Work) -> None:
        claim = work.claim
        confirmed = frozenset(tuple(identity) for identity in claim.operation.parameters["tenants"])
        report = Reporter(database=self.database, work=work)

        async def guard(conn: Connection) -> None:
            await operations.require_claim(conn, claim)

        async def between(reached: upgrade.Progress) -> None:
            gone_before = len(confirmed) - reached.total  # by a worker that did not come to the end
            await report(Progress(done=gone_before + reached.done, total=len(confirmed)))

        with work.steps.step("downgrade"):
            await downgrade.run(
                self.database, self.target, confirmed=confirmed, keep_control=True, guard=guard, between=between
            )
        self.expected.forget()
        await _succeed(self.database, work, {"tenants_dropped": len(confirmed)})


async def _succeed(database: Database, work: Work, result: dict[str, Any]) -> None:
    async with database.transaction() as conn:
        await operations.succeed(conn, work.claim, result=result, steps=work.steps)
        await _record(conn, work.claim.operation, Status.SUCCEEDED, result)


async def _ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    await _record(conn, operation, status, problem.as_json())


async def _record(conn: Connection, operation: Operation, status: Status, after: dict[str, Any]) -> None:
    await audit.record(
        conn, operation.origin, action=operation.kind, target="schema", outcome=OUTCOMES[status], after=after
    )


async def _upgrade_again(conn: Connection, failed: Operation, new_id: UUID, origin: Origin) -> Operation:
    return await requests.request_upgrade(conn, operation_id=new_id, origin=origin, retry_of=failed.id)


UPGRADE_RULES = Rules(ended=_ended, again=_upgrade_again)
DOWNGRADE_RULES = Rules(ended=_ended, again=None)
