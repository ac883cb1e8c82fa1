"""Limits that a tenant is created with."""

import asyncpg
import pytest

from tests.support.api import Api
from tests.support.problems import problem

_OTHER = {"unit": "count", "maximum": 9}


async def test_they_are_its_own_whatever_the_tier_says(api: Api) -> None:
    await api.client.put("/v1/catalog/limits/max_other", json=_OTHER)
    wanted = {"max_budget_lines": 100000, "max_budgets": 500, "max_other": 3}
    assert (await api.provision(limits=wanted)).status_code == 201
    limits = (await api.client.get("/v1/tenants/acme_corp/limits")).json()
    assert {name for name, source in limits["sources"].items() if source == "tenant"} == set(wanted)
    assert {name: limits[name] for name in wanted} == wanted


async def test_what_the_catalogue_refuses_is_422_before_anything_is_stored(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    narrow = {"unit": "count", "maximum": 10, "enforcement": "enforce"}
    assert (await idle_api.client.put("/v1/catalog/limits/max_budgets", json=narrow)).status_code == 200
    for limits, pointer in (
        ({"max_budgets": 11}, "/limits/max_budgets"), ({"max_budget": 1}, "/limits/max_budget"),
        ({"max_other": 1}, "/limits/max_other"), ({"max_other": True}, "/limits/max_other"), ({"Max!": 1}, "/limits"),
        ({"sources": 1}, "/limits"), ({"ä": 1}, "/limits"), ({"max_other": -1}, "/limits/max_other"),
    ):  # fmt: skip
        with subtests.test(repr(limits)):
            answer = await idle_api.provision(limits=limits)
            assert [e["pointer"] for e in problem(answer, 422, "validation_failed")["errors"]] == [pointer]
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0
