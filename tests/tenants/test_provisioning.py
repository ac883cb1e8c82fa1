"""From a request to a tenant that the catalogue shows."""

import asyncpg

from app.db.pool import Database
from app.schema.expected import ExpectedTenants
from tests.support.api import Api


async def test_a_waited_post_answers_201_with_the_active_tenant(api: Api, conn: asyncpg.Connection) -> None:
    response = await api.provision("acme_corp")
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/tenants/acme_corp"
    assert response.headers["preference-applied"] == "wait=20"
    assert response.json()["state"] == "active"
    tables = await conn.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'bf_acme_corp'")
    assert tables == 6


async def test_the_catalogue_of_a_provisioned_tenant_is_the_expected_one(
    api: Api, database: Database, expected: ExpectedTenants
) -> None:
    await api.provision("global_inc")
    await expected.prepare(1)
    async with database.transaction() as conn:
        difference = await expected.difference(conn, tenant_id="global_inc", schema_name="bf_global_inc", version=1)
    assert difference.ok, difference.summary()
