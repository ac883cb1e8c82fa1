"""Changes of one tenant by many at once: with If-Match no update is lost, and nobody is refused by a deadlock."""

import asyncio
import json
from collections import Counter

import asyncpg
import httpx
import pytest

from app.settings import Settings
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import waiting_for_locks
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp"
_ROUNDS = 50
_CHANGED_BY_API = "SELECT count(*) FROM bf_control.audit WHERE action = 'tenant.change' AND actor LIKE 'key:%'"


@pytest.fixture(autouse=True)
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)


async def _patch(api: Api, name: str, if_match: str | None = None) -> httpx.Response:
    headers = {} if if_match is None else {"If-Match": if_match}
    return await api.client.patch(_PATH, json={"tenant_name": name}, headers=headers)


async def _tag(api: Api, view: str = "basic") -> str:
    tag: str = (await api.client.get(_PATH, params={"view": view})).headers["etag"]
    return tag


async def test_a_tag_of_either_view_lets_the_change_through_once(idle_api: Api, subtests: pytest.Subtests) -> None:
    for view in ("basic", "full"):
        with subtests.test(view):
            tag = await _tag(idle_api, view)
            assert (await _patch(idle_api, f"ACME by {view}", tag)).status_code == 200
            problem(await _patch(idle_api, "Stale", tag), 412, "precondition_failed")
            assert (await idle_api.client.get(_PATH)).json()["tenant_name"] == f"ACME by {view}"


async def test_what_matches_and_what_does_not(idle_api: Api, subtests: pytest.Subtests) -> None:
    for number, form in enumerate(("{0}", "*", " * ", '"other", {0}', '{0} , W/"weak"', '"a","b",{0},')):
        with subtests.test(form):
            tag = await _tag(idle_api)
            answer = await _patch(idle_api, f"Match {number}", form.format(tag))
            assert answer.status_code == 200, answer.text
    tag, read = await _tag(idle_api), (await idle_api.client.get(_PATH)).json()
    for form in ('"stale"', '""', "W/{0}", 'W/{0}, "other"', '"*"', '"{1}"'):
        with subtests.test(form):
            answer = await _patch(idle_api, "Unmatched", form.format(tag, tag.strip('"').swapcase()))
            problem(answer, 412, "precondition_failed")
    assert (await idle_api.client.get(_PATH)).json() == read


async def test_nonsense_in_if_match_is_400(idle_api: Api, subtests: pytest.Subtests) -> None:
    tag, read = await _tag(idle_api), (await idle_api.client.get(_PATH)).json()
    for header in (
        b"", b"x", b"1", b"null", b"'x'", b'"', b'"x', b'x"', b'w/"x"', b"W/", b'W /"x"', b'"a" "b"', b'*, "a"', b"**",
        b'"a";"b"', b'"a b"', b'"\x01"', tag.strip('"').encode(), b",", b'"a"' * 3, b'"x' * 4000, b'"a",' * 500 + b"x",
    ):  # fmt: skip
        with subtests.test(repr(header)[:30]):
            answer = await idle_api.client.patch(_PATH, json={"tenant_name": "X"}, headers=[(b"if-match", header)])
            problem(answer, 400, "invalid_entity_tag")
    assert (await idle_api.client.get(_PATH)).json() == read
    two = await idle_api.client.patch(
        _PATH, json={"tenant_name": "Two lines"}, headers=[("if-match", '"other"'), ("if-match", tag)]
    )
    assert two.status_code == 200, two.text


async def test_of_many_with_one_tag_exactly_one_wins_in_each_generation(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    """A counter kept in the name, raised by readers that all start from the same state: no raise is lost."""
    await _patch(idle_api, "0")
    generations, rivals = 4, 8
    for _ in range(generations):
        read = await idle_api.client.get(_PATH)
        raised = int(read.json()["tenant_name"]) + 1
        answers = await asyncio.gather(
            *(_patch(idle_api, f"{raised}{' ' * n}", read.headers["etag"]) for n in range(rivals))
        )
        assert Counter(answer.status_code for answer in answers) == {200: 1, 412: rivals - 1}
        winner = next(answer for answer in answers if answer.status_code == 200)
        assert (await idle_api.client.get(_PATH)).headers["etag"] == winner.headers["etag"]
    assert int((await idle_api.client.get(_PATH)).json()["tenant_name"]) == generations
    # The tenant's making, the zero, and one row for each winner.
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant_config_history") == 2 + generations
    assert await conn.fetchval(_CHANGED_BY_API) == 1 + generations


async def test_beside_updates_in_sql_there_is_no_deadlock_and_no_failure(
    idle_api: Api, settings: Settings, conn: asyncpg.Connection
) -> None:
    """An UPDATE locks tenant_config, then the registry by its trigger; PATCH must lock in the same order. A deadlock
    would be a 503 here, or an error of one of the two UPDATEs.
    """
    other = await asyncpg.connect(settings.direct_dsn())
    try:
        for number in range(_ROUNDS):
            answers = await asyncio.gather(
                _patch(idle_api, f"By REST {number}"),
                idle_api.client.patch(_PATH, json={"billing_contact": f"c{number}@acme.example"}),
                conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = $1", number),
                other.execute("UPDATE bf_shared.tenant_config SET subscription_tier = $1", f"tier_{number}"),
            )
            assert [answer.status_code for answer in answers[:2]] == [200, 200], [a.text for a in answers[:2]]
        row = await conn.fetchrow(
            """SELECT c.tenant_name, c.billing_contact, c.subscription_tier, c.max_budget_lines,
                      (t.tenant_name, t.billing_contact, t.subscription_tier)
                      = (c.tenant_name, c.billing_contact, c.subscription_tier)
                 FROM bf_shared.tenant_config c JOIN bf_control.tenant t USING (tenant_id)"""
        )
    finally:
        await other.close()
    last = _ROUNDS - 1
    assert tuple(row) == (f"By REST {last}", f"c{last}@acme.example", f"tier_{last}", last, True)
    recorded = await conn.fetch("SELECT source, after FROM bf_control.tenant_config_history ORDER BY id")
    assert Counter(row["source"] for row in recorded) == {"api": 2 * _ROUNDS, "sql": 2 * _ROUNDS + 1}
    assert json.loads(recorded[-1]["after"])["max_budget_lines"] == last


async def test_a_row_that_somebody_keeps_locked_is_503_in_time_and_harms_nothing(
    idle_api: Api, superuser: asyncpg.Connection, conn: asyncpg.Connection
) -> None:
    async with superuser.transaction():
        await superuser.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = 1")
        begun = asyncio.get_running_loop().time()
        patching = asyncio.create_task(_patch(idle_api, "Refused"))
        await waiting_for_locks(conn)
        assert (await idle_api.client.get(f"{_PATH}?view=full")).status_code == 200, "reading waits for nobody"
        problem(await patching, 503, "database_busy")
        assert asyncio.get_running_loop().time() - begun < 4
    assert (await _patch(idle_api, "Accepted")).status_code == 200
    assert await conn.fetchval(_CHANGED_BY_API) == 1
