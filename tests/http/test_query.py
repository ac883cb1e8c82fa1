"""What a route does not know is refused, not ignored."""

import asyncio
from uuid import uuid4

import pytest

from app.http.pagination import PageTokens
from tests.support.api import Api
from tests.support.problems import problem


async def test_a_parameter_that_a_route_does_not_have_is_refused(idle_api: Api) -> None:
    body = {"tenant_id": "acme", "tenant_name": "A"}
    answer = await idle_api.client.post("/v1/tenants?validate=true", json=body)
    assert problem(answer, 422)["errors"] == [{"pointer": "query/validate", "detail": "is no parameter of this call"}]
    problem(await idle_api.client.get("/v1/tenants/acme"), 404)
    problem(await idle_api.client.get("/v1/tenants?limit=5"), 422)


async def test_a_parameter_that_is_given_twice_is_refused(idle_api: Api, subtests: pytest.Subtests) -> None:
    for path in ("/v1/tenants?state=active&state=failed", "/v1/operations?page_size=5&page_size=5"):
        name = path.partition("?")[2].partition("=")[0]
        with subtests.test(path):
            found = problem(await idle_api.client.get(path), 422, "validation_failed")["errors"]
            assert found == [{"pointer": f"query/{name}", "detail": "may be given once"}]


async def test_a_signed_token_that_makes_no_sense_is_400(idle_api: Api) -> None:
    """Without a pepper anybody can sign one."""
    tenants = dict.fromkeys(("state", "tier", "feature", "schema_version", "q"))
    tenants |= {"list": "tenants", "order_by": "created_at"}
    token = PageTokens.of("").issue(tenants, ("yesterday", "acme"))
    problem(await idle_api.client.get(f"/v1/tenants?order_by=created_at&page_token={token}"), 400, "invalid_page_token")
    operations = dict.fromkeys(("status", "kind", "tenant_id"))
    operations |= {"list": "operations", "order_by": "created_at"}
    for position in (("yesterday", str(uuid4())), ("2026-01-01T00:00:00+00:00", "acme")):
        token = PageTokens.of("").issue(operations, position)
        answer = await idle_api.client.get(f"/v1/operations?order_by=created_at&page_token={token}")
        problem(answer, 400, "invalid_page_token")


async def test_upgrades_asked_for_at_once_are_one(idle_api: Api) -> None:
    answers = await asyncio.gather(*(idle_api.client.post("/v1/schema/upgrade") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
