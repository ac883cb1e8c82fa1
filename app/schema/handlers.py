"""The job behind POST /v1/schema/upgrade."""

from collections.abc import Sequence
from dataclasses import dataclass

from app.audit import service as audit
from app.db.pool import Connection, Database
from app.errors import AppError, Problem
from app.operations import service as operations
from app.operations.executor import Work
from app.schema import upgrade
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
        with work.steps.step("upgrade"):
            outcome = await upgrade.run(self.database, self.migrations, self.target)
        self.expected.forget()
        if outcome.failed:
            named = "; ".join(f"{tenant_id}: {why}" for tenant_id, why in list(outcome.failed.items())[:5])
            raise TenantsNotUpgraded(f"{len(outcome.failed)} tenants were not upgraded: {named}")
        async with self.database.transaction() as conn:
            result = {
                "applied": outcome.applied,
                "tenants_upgraded": len(outcome.upgraded),
                "warnings": outcome.warnings,
            }
            await operations.succeed(conn, work.claim, result=result, steps=work.steps)
            await audit.record(
                conn,
                actor=work.claim.operation.actor,
                action="schema.upgrade",
                target="schema",
                outcome="succeeded",
                request_id=work.claim.operation.request_id,
                after=result,
            )

    async def failed(self, conn: Connection, work: Work, problem: Problem) -> None:
        await audit.record(
            conn,
            actor=work.claim.operation.actor,
            action="schema.upgrade",
            target="schema",
            outcome="failed",
            request_id=work.claim.operation.request_id,
            after=problem.as_json(),
        )
