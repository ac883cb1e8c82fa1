"""The job behind POST /v1/tenants."""

from dataclasses import dataclass

from app.db.pool import Connection, Database
from app.errors import Problem
from app.operations.executor import Work
from app.schema import service as schema
from app.schema.expected import ExpectedTenants
from app.schema.script import Target
from app.tenants import service


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionHandler:
    database: Database
    expected: ExpectedTenants
    target: Target

    async def run(self, work: Work) -> None:
        if not self.expected.prepared:
            async with self.database.connection() as conn:
                version = await schema.require_shared(conn)
            await self.expected.prepare(version)
        async with self.database.transaction() as conn:
            await service.provision(conn, work.claim, self.expected, self.target, steps=work.steps)

    async def failed(self, conn: Connection, work: Work, problem: Problem) -> None:
        await service.provisioning_failed(conn, work.claim, problem.as_json())
