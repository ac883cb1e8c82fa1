"""A tenant's tier is one of the catalogue's, as far as the API goes."""

import asyncpg
import pytest

from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.problems import problem

_UNKNOWN = [("premum", "did you mean premium?"), ("zzz", "which has basic, enterprise, premium")]


@pytest.mark.parametrize(("tier", "said"), _UNKNOWN)
async def test_a_tenant_of_an_unknown_tier_is_refused_with_the_nearest(
    idle_api: Api, conn: asyncpg.Connection, tier: str, said: str
) -> None:
    body = {"tenant_id": "acme_corp", "tenant_name": "ACME", "subscription_tier": tier}
    for answer in (
        await idle_api.client.post("/v1/tenants", json=body),
        await idle_api.client.put("/v1/tenants/acme_corp", json=body),
    ):
        (error,) = problem(answer, 422, "validation_failed")["errors"]
        assert error["pointer"] == "/subscription_tier"
        assert said in error["detail"]
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0


@pytest.mark.parametrize(("tier", "said"), _UNKNOWN)
async def test_a_tenant_is_not_moved_to_an_unknown_tier(
    idle_api: Api, conn: asyncpg.Connection, tier: str, said: str
) -> None:
    await make_tenant(conn)
    answer = await idle_api.client.patch("/v1/tenants/acme_corp", json={"subscription_tier": tier})
    (error,) = problem(answer, 422, "validation_failed")["errors"]
    assert said in error["detail"]


async def test_a_tier_that_came_by_sql_is_read_and_may_stay(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_shared.tenant_config SET subscription_tier = 'gold'")
    assert (await idle_api.client.get("/v1/tenants/acme_corp")).json()["subscription_tier"] == "gold"
    change = {"tenant_name": "ACME Worldwide", "subscription_tier": "gold"}
    answer = await idle_api.client.patch("/v1/tenants/acme_corp", json=change)
    assert (answer.status_code, answer.json()["tenant_name"]) == (200, "ACME Worldwide")
