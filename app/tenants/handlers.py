"""The job behind POST /v1/tenants."""

from dataclasses import dataclass

from app.db.pool import Database
from app.operations.executor import Work
from app.operations.rules import Rules
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


PROVISION_RULES = Rules(ended=service.provisioning_ended, again=service.provision_again)
