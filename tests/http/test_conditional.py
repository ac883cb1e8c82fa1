"""Entity tags: a reader that has the document is told so, and a tag changes exactly when the document does."""

import asyncpg
import httpx
import pytest

from tests.support.api import Api
from tests.support.data import LATEST, make_tenant
from tests.support.problems import problem

_PATH = "/v1/tenants/acme_corp"


async def _get(api: Api, path: str, if_none_match: str | None = None) -> httpx.Response:
    return await api.client.get(path, headers={} if if_none_match is None else {"If-None-Match": if_none_match})


async def _readable(api: Api, conn: asyncpg.Connection) -> list[str]:
    """Every kind of document that has a tag."""
    await make_tenant(conn)
    operation = (await api.client.post("/v1/schema/upgrade")).headers["operation-location"]
    return [_PATH, f"{_PATH}?view=full", "/v1/schema", operation]


async def test_what_the_reader_has_is_304_without_a_body(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    for path in await _readable(idle_api, conn):
        read = await _get(idle_api, path)
        tag = read.headers["etag"]
        assert tag.startswith('"'), "a strong tag"
        assert "no-cache" in read.headers["cache-control"]
        for form in ("{0}", "W/{0}", "*", '"other", {0}', '{0} ,W/"x",', '"",{0}'):
            with subtests.test(f"{path.partition('-')[0]} {form}"):
                answer = await _get(idle_api, path, form.format(tag))
                assert (answer.status_code, answer.content) == (304, b"")
                assert answer.headers["etag"] == tag
                assert answer.headers["x-request-id"]
        for form in ('"other"', "W/{1}", '""', '"*"'):
            with subtests.test(f"{path.partition('-')[0]} {form}"):
                answer = await _get(idle_api, path, form.format(tag, tag.swapcase()))
                assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, read.json(), tag)


async def test_nonsense_is_400(idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    for path in await _readable(idle_api, conn):
        for header in (b"x", b"", b'"', b'"a" "b"', b'w/"a"', b"*,*", b'*, "a"', b"W/*", b'"a\tb"'):
            with subtests.test(f"{path.partition('-')[0]} {header!r}"):
                answer = await idle_api.client.get(path, headers=[(b"if-none-match", header)])
                problem(answer, 400, "invalid_entity_tag")


async def test_a_tag_changes_exactly_when_the_body_does(idle_api: Api, conn: asyncpg.Connection) -> None:
    """Of the two views, each by itself: what only the whole one shows leaves the other's tag alone."""
    await make_tenant(conn)
    seen: dict[str, dict[bytes, str]] = {"basic": {}, "full": {}}

    async def look() -> dict[str, str]:
        tags = {}
        for view, known in seen.items():
            answer = await _get(idle_api, f"{_PATH}?view={view}")
            tags[view] = answer.headers["etag"]
            assert known.setdefault(answer.content, tags[view]) == tags[view]
            assert len(set(known.values())) == len(known), "two documents with one tag"
        return tags

    first = await look()
    assert await look() == first
    assert first["basic"] != first["full"]
    await conn.execute("UPDATE bf_control.tenant SET features = features")
    assert await look() == first
    await conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = max_budget_lines")
    assert await look() == first
    await idle_api.client.patch(_PATH, json={"tenant_name": "Renamed"})
    second = await look()
    assert not set(second.values()) & set(first.values())
    await conn.execute("UPDATE bf_control.tenant_statement SET version = version")
    assert await look() == second
    await conn.execute("UPDATE bf_control.tenant SET schema_version = schema_version + 1")
    third = await look()
    assert not set(third.values()) & set(second.values())
    await conn.execute("UPDATE bf_control.tenant SET schema_version = schema_version - 1")
    assert await look() == second


async def test_the_tag_of_the_whole_view_covers_the_configuration(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    for column, value in (
        ("features_enabled", '["x1"]'), ("usage_limits", '{"max_budgets": 1}'),
        ("apg_integrations", '{"auth_rbac": {}}'), ("budget_features", '{"a": 1}'), ("default_currency", "EUR"),
    ):  # fmt: skip
        before = (await _get(idle_api, f"{_PATH}?view=full")).headers["etag"]
        await conn.execute(f"UPDATE bf_shared.tenant_config SET {column} = $1", value)  # noqa: S608
        assert (await _get(idle_api, f"{_PATH}?view=full", before)).status_code == 200, column


async def test_an_operation_s_tag_changes_as_it_goes_on(api: Api) -> None:
    accepted = await api.client.put(_PATH, json={"tenant_name": "ACME"})
    location = accepted.headers["operation-location"]
    tags = {(await _get(api, location)).headers["etag"]: "as it was"}
    await api.client.put(_PATH, json={"tenant_name": "ACME"}, headers={"Prefer": "wait=20"})
    ended = await _get(api, location)
    assert ended.json()["status"] == "succeeded"
    assert ended.headers["etag"] not in tags
    assert (await _get(api, location, ended.headers["etag"])).status_code == 304


async def test_while_it_runs_304_too_says_when_to_ask_again(idle_api: Api) -> None:
    location = (await idle_api.client.put(_PATH, json={"tenant_name": "ACME"})).headers["operation-location"]
    read = await _get(idle_api, location)
    again = await _get(idle_api, location, read.headers["etag"])
    assert (again.status_code, again.headers["retry-after"]) == (304, read.headers["retry-after"])


async def test_the_schema_s_tag_changes_with_the_fleet(idle_api: Api, conn: asyncpg.Connection) -> None:
    before = (await _get(idle_api, "/v1/schema")).headers["etag"]
    assert (await _get(idle_api, "/v1/schema", before)).status_code == 304
    await make_tenant(conn)
    after = await _get(idle_api, "/v1/schema", before)
    assert (after.status_code, after.json()["fleet"]) == (200, [{"schema_version": LATEST, "tenants": 1}])


async def test_what_is_not_there_has_no_tag_to_match(idle_api: Api) -> None:
    for path in ("/v1/tenants/nobody", "/v1/operations/nothing"):
        answer = await _get(idle_api, path, "*")
        assert "etag" not in problem(answer, 404)
        assert "etag" not in answer.headers
