"""Nobody drops what was not confirmed, and nobody who has lost the right to."""

from uuid import uuid4

import asyncpg
import pytest

from app.apikeys.model import Role
from app.audit.model import Origin
from app.db.pool import Database
from app.operations import queries, service
from app.operations.executor import Work
from app.operations.model import Claim, Kind, Status
from app.operations.service import ClaimLost, Steps
from app.schema.expected import ExpectedTenants
from app.schema.handlers import DowngradeHandler
from app.schema.script import Target
from tests.support.api import Api
from tests.support.data import make_tenant, schemas
from tests.support.problems import problem

_PATH = "/v1/schema/downgrade"
_IDENTITIES = """
SELECT jsonb_agg(jsonb_build_array(tenant_id, schema_name, created_at::text, schema_version IS NOT NULL))
  FROM bf_control.tenant
"""


async def _claimed_twice(database: Database) -> tuple[Claim, Claim]:
    """A downgrade of all there is, whose first worker was not heard of and so has lost it to the second."""
    operation_id = uuid4()
    async with database.transaction() as conn:
        parameters = {"tenants": await conn.fetchval(_IDENTITIES) or []}
        await service.request(
            conn,
            operation_id,
            Kind.SCHEMA_DOWNGRADE,
            origin=Origin(actor="tests"),
            parameters=parameters,
            queued=False,
        )
    async with database.connection() as conn:
        stale, current = await queries.claim(conn, operation_id), await queries.claim(conn, operation_id)
    assert stale is not None
    assert current is not None
    return stale, current


@pytest.mark.parametrize("tenants", [2, 0])
async def test_a_worker_that_was_taken_over_drops_nothing(
    database: Database, expected: ExpectedTenants, conn: asyncpg.Connection, tenants: int
) -> None:
    """Neither a tenant nor, where none is left, the shared schema."""
    for number in range(tenants):
        await make_tenant(conn, f"t{number}")
    before = await schemas(conn)
    stale, current = await _claimed_twice(database)
    async with database.transaction() as ending:
        await service.finish(ending, current, Status.CANCELLED, steps=Steps(), error={"code": "operation_cancelled"})
    with pytest.raises(ClaimLost):
        await DowngradeHandler(database=database, target=Target(), expected=expected).run(Work(claim=stale))
    assert await schemas(conn) == before


async def test_the_worker_that_has_it_drops_all(
    database: Database, expected: ExpectedTenants, conn: asyncpg.Connection
) -> None:
    """Else the test above would prove nothing."""
    await make_tenant(conn, "t1")
    _, current = await _claimed_twice(database)
    await DowngradeHandler(database=database, target=Target(), expected=expected).run(Work(claim=current))
    assert await schemas(conn) == {"bf_control", "bf_queue"}


async def test_a_tenant_that_was_built_after_the_plan_is_not_what_was_confirmed(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await idle_api.client.post("/v1/tenants", json={"tenant_id": "acme", "tenant_name": "A"})
    plan = (await idle_api.client.post(_PATH)).json()
    await make_tenant(conn, "acme", "A")
    answer = await idle_api.client.post(_PATH, json={"confirmation": plan["confirmation"]})
    problem(answer, 409, "confirmation_invalid")
    assert "bf_acme" in await schemas(conn)


async def test_another_tenant_of_the_same_id_is_not_the_one_that_was_confirmed(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme")
    plan = (await idle_api.client.post(_PATH)).json()
    await conn.execute("UPDATE bf_control.tenant SET created_at = created_at + interval '1 second'")
    answer = await idle_api.client.post(_PATH, json={"confirmation": plan["confirmation"]})
    problem(answer, 409, "confirmation_invalid")
    assert "bf_acme" in await schemas(conn)


async def test_a_key_for_one_tenant_ends_with_it(api: Api, conn: asyncpg.Connection) -> None:
    """The next tenant of that id may be another customer's."""
    await make_tenant(conn, "acme")
    headers = {"Authorization": f"Bearer {await api.key(Role.VIEWER, tenant_id='acme')}"}
    assert (await api.client.get("/v1/tenants/acme", headers=headers)).status_code == 200
    token = (await api.client.post(_PATH)).json()["confirmation"]
    gone = await api.client.post(_PATH, json={"confirmation": token}, headers={"Prefer": "wait=20"})
    assert gone.status_code == 200, gone.text
    assert (await api.client.post("/v1/schema/upgrade", headers={"Prefer": "wait=20"})).status_code == 200
    assert (await api.provision("acme")).status_code == 201
    problem(await api.client.get("/v1/tenants/acme", headers=headers), 401, "unauthenticated")
