"""Limits by the client and the command line."""

import json

import asyncpg
import httpx
import pytest

from app.client import AsyncClient, NotFound, PreconditionFailed
from tests.limits.support import BUDGETS, working
from tests.support.api import Api
from tests.support.command import command
from tests.support.processes import environment


@pytest.mark.usefixtures("tenant")
async def test_the_client_reads_changes_and_measures(idle_api: Api, application: asyncpg.Connection) -> None:
    async with working(application):
        await application.execute(BUDGETS, "a", 3)
    key = idle_api.client.headers["authorization"].removeprefix("Bearer ")
    transport = httpx.ASGITransport(idle_api.app)
    async with AsyncClient("http://test", api_key=key, transport=transport) as client:
        before = await client.limits.get("acme_corp")
        assert before.values["max_budget_lines"] == before.max_budget_lines == 100000
        dry = await client.limits.update("acme_corp", {"max_budgets": 2}, validate_only=True)
        assert (dry.values["max_budgets"], dry.exceeded) == (2, ("max_budgets",))
        after = await client.limits.update("acme_corp", {"max_budgets": 4}, if_match=before.etag)
        assert (after.values["max_budgets"], after.sources["max_budgets"], after.exceeded) == (4, "tenant", ())
        with pytest.raises(PreconditionFailed):
            await client.limits.update("acme_corp", {"max_budgets": 5}, if_match=before.etag)
        assert (await client.limits.get("acme_corp")).etag == after.etag
        usage = {each.name: each for each in (await client.limits.usage("acme_corp")).usage}
        assert (usage["max_budgets"].used, usage["max_budgets"].percentage) == (3, 75.0)
        added = await client.limits.catalogue.put("max_other", unit="count", maximum=9, tiers={"basic": 3})
        assert added == await client.limits.catalogue.get("max_other")
        assert added.name in [limit.name for limit in await client.limits.catalogue.list()]
        with pytest.raises(NotFound):
            await client.limits.catalogue.get("nothing")


@pytest.mark.usefixtures("tenant")
async def test_the_command_line_says_what_is_wrong(dsn: str, subtests: pytest.Subtests) -> None:
    env = environment(dsn)
    for words, code, told in (
        (["limits", "set", "acme_corp", "max_budget=5"], 2, "did you mean max_budgets"),
        (["limits", "set", "acme_corp", "max_budgets=many"], 2, "write NAME=NUMBER or NAME=default"),
        (["limits", "set", "acme_corp", "forecast_horizon_limit=0"], 2, "must be from 1 to 120"),
        (["limits", "get", "nobody"], 1, "There is no such tenant"),
        (["limits", "define", "max_other", "--unit", "count"], 2, "maximum"),
        (["limits", "define", "Max", "--unit", "count", "--maximum", "1"], 2, "a letter first"),
        (["limits", "define", "storage_mb", "--enforcement", "enforce"], 2, "must be off"),
        (["limits", "define", "max_budgets", "--tier", "gold=1"], 2, "is not in the catalogue"),
    ):
        with subtests.test(" ".join(words)):
            finished = await command(*words, env=env)
            assert (finished.code, told in finished.stderr) == (code, True), finished


@pytest.mark.usefixtures("tenant")
async def test_the_command_line_shows_sets_and_goes_back(dsn: str, application: asyncpg.Connection) -> None:
    env = environment(dsn)
    async with working(application):
        await application.execute(BUDGETS, "a", 3)
    finished = await command("limits", "set", "acme_corp", "max_budgets=2", "max_budget_lines=7", env=env)
    assert (finished.code, "max_budgets\t2\ttenant" in finished.stdout) == (0, True), finished
    assert "more of max_budgets is used already" in finished.stderr
    finished = await command("limits", "set", "acme_corp", "max_budget_lines=default", "--json", env=env)
    assert json.loads(finished.stdout)["max_budget_lines"] == 100000
    assert "max_budgets\t3\t2\t150.0 %\tenforce" in (await command("usage", "acme_corp", env=env)).stdout
    assert "max_budgets\t3\t3" in (await command("limits", "recount", "acme_corp", env=env)).stdout
    finished = await command("limits", "define", "max_budgets", "--default", "9", "--tier", "basic=1", env=env)
    assert (finished.code, "enforce, by default 9" in finished.stdout) == (0, True), finished
    assert (
        "max_budgets\tcount\t0 to 1000000000\t9\tbasic 1\tenforce"
        in (await command("limits", "catalog", env=env)).stdout
    )
