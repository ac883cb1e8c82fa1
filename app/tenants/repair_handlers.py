"""The jobs behind POST /v1/tenants/{id}/repair, /v1/schema/verify and /v1/schema/repair."""

from dataclasses import dataclass

from app.db.pool import Connection, Database
from app.errors import AppError, Problem
from app.operations import service as operations
from app.operations.executor import Reporter, Work
from app.operations.model import Operation, Progress, Status
from app.operations.rules import OUTCOMES, Rules
from app.schema import upgrade
from app.schema.expected import ExpectedTenants
from app.tenants import fleet, repairing
from app.tenants.fleet import Fleet


class TenantsNotRepaired(AppError):
    """The others are as expected; the next repair tries these again."""

    code = "tenants_not_repaired"
    title = "Some tenants could not be repaired"


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairHandler:
    database: Database
    expected: ExpectedTenants

    async def run(self, work: Work) -> None:
        operation = work.claim.operation
        tenant_id = operation.tenant_id or ""

        async def guard(conn: Connection) -> None:
            await operations.require_claim(conn, work.claim)

        with work.steps.step("repair"):
            done = await repairing.run(
                self.database,
                self.expected,
                tenant_id,
                drop_extra=bool(operation.parameters.get("drop_extra")),
                origin=operation.origin,
                guard=guard,
            )
        with work.steps.step("verify"):
            done.require_whole(tenant_id)
        result = done.as_json(tenant_id)
        async with self.database.transaction() as conn:
            await operations.succeed(conn, work.claim, result=result, steps=work.steps)
            await repairing.record(conn, operation.origin, tenant_id, "succeeded", result)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetVerifyHandler:
    database: Database
    expected: ExpectedTenants

    async def run(self, work: Work) -> None:
        with work.steps.step("verify"):
            found = await fleet.verify_all(self.database, self.expected, between=_between(self.database, work))
        await _succeed(self.database, work, found)


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRepairHandler:
    database: Database
    expected: ExpectedTenants

    async def run(self, work: Work) -> None:
        operation = work.claim.operation

        async def guard(conn: Connection) -> None:
            await operations.require_claim(conn, work.claim)

        with work.steps.step("repair"):
            found = await fleet.repair_all(
                self.database,
                self.expected,
                drop_extra=bool(operation.parameters.get("drop_extra")),
                origin=operation.origin,
                between=_between(self.database, work),
                guard=guard,
            )
        if found.failed:
            told = "; ".join(f"{tenant_id}: {why}" for tenant_id, why in list(found.failed.items())[:5])
            raise TenantsNotRepaired(f"{len(found.failed)} tenants were not repaired: {told}")
        await _succeed(self.database, work, found)


def _between(database: Database, work: Work) -> "_Between":
    return _Between(report=Reporter(database=database, work=work))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Between:
    report: Reporter

    async def __call__(self, reached: upgrade.Progress) -> None:
        await self.report(Progress(done=reached.done, total=reached.total))


async def _succeed(database: Database, work: Work, found: Fleet) -> None:
    operation, result = work.claim.operation, found.as_json()
    async with database.transaction() as conn:
        await operations.succeed(conn, work.claim, result=result, steps=work.steps)
        counts = {name: value for name, value in result.items() if name != "tenants"}
        await fleet.record(conn, operation.origin, operation.kind, "succeeded", counts)


async def _ended(conn: Connection, operation: Operation, status: Status, problem: Problem) -> None:
    await fleet.record(conn, operation.origin, operation.kind, OUTCOMES[status], problem.as_json())


REPAIR_RULES = Rules(ended=repairing.ended, again=repairing.again)
FLEET_RULES = Rules(ended=_ended, again=fleet.again)
