"""GET /v1/operations: order, filters, pages that stay whole while operations are added, kinds of a newer release."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest

from app.http.pagination import PageTokens
from app.jobs import queue
from tests.support.api import Api
from tests.support.polling import until
from tests.support.problems import problem

# Two of each moment, so that the order of equal times is asked for too.
_INSERT = """
INSERT INTO bf_control.operation (kind, tenant_id, status, actor, created_at, finished_at)
SELECT (ARRAY['tenant.provision', 'schema.upgrade'])[1 + n % 2], CASE WHEN n % 2 = 0 THEN 't' || n % 3 END,
       CASE WHEN n % 3 = 0 THEN 'failed' ELSE 'queued' END, 'tests',
       '2025-01-01 00:00Z'::timestamptz + $2::interval + n / 2 * interval '1 second',
       CASE WHEN n % 3 = 0 THEN now() END
  FROM generate_series(0, $1::integer - 1) AS n
"""
_NEWEST_FIRST = "SELECT id::text FROM bf_control.operation ORDER BY created_at DESC, id DESC"
_UNKNOWN = """
INSERT INTO bf_control.operation (kind, status, actor, finished_at)
VALUES ('tenant.teleport', $1::text, 'tests', CASE WHEN $1 = 'failed' THEN now() END) RETURNING id
"""


async def _add(conn: asyncpg.Connection, count: int, *, later: timedelta = timedelta()) -> None:
    await conn.execute(_INSERT, count, later)


async def _ids(conn: asyncpg.Connection) -> list[str]:
    return [row["id"] for row in await conn.fetch(_NEWEST_FIRST)]


async def _page(client: httpx.AsyncClient, **query: Any) -> dict[str, Any]:
    response = await client.get("/v1/operations", params=query)
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body


async def _read(client: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    """Every page."""
    page = await _page(client, **query)
    items: list[dict[str, Any]] = page["items"]
    while (following := page.get("next_page_token")) is not None:
        page = await _page(client, **query, page_token=following)
        assert page["items"], "a page token led to nothing"
        items += page["items"]
    return items


async def test_operations_come_newest_first_or_oldest_first_whole_whatever_the_page_size(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    assert await _page(idle_api.client) == {"items": []}
    await _add(conn, 11)
    newest = await _ids(conn)
    for size in (1, 2, 3, 10, 11, 12, 0, 501):
        assert [item["id"] for item in await _read(idle_api.client, page_size=size)] == newest, size
    oldest = await _read(idle_api.client, page_size=3, order_by="created_at")
    assert [item["id"] for item in oldest] == newest[::-1]
    assert [item["created_at"] for item in oldest] == sorted(item["created_at"] for item in oldest)
    for item in oldest[:2]:
        assert (await idle_api.client.get(f"/v1/operations/{item['id']}")).json() == item


async def test_filters_narrow_the_list_and_combine(idle_api: Api, conn: asyncpg.Connection) -> None:
    await _add(conn, 24)
    everything = await _read(idle_api.client)
    for wanted in (
        {"status": "failed"},
        {"status": "queued", "kind": "schema.upgrade"},
        {"kind": "tenant.provision"},
        {"tenant_id": "t1"},
        {"tenant_id": "t2", "status": "queued", "kind": "tenant.provision"},
    ):
        found = await _read(idle_api.client, page_size=3, **wanted)
        assert found == [item for item in everything if wanted.items() <= item.items()], wanted
        assert 0 < len(found) < len(everything), wanted
    for nothing in ({"tenant_id": "nobody"}, {"status": "cancelled"}, {"kind": "schema.upgrade", "tenant_id": "t1"}):
        assert await _page(idle_api.client, **nothing) == {"items": []}


async def test_pages_neither_repeat_nor_miss_while_operations_are_added(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await _add(conn, 8)
    before = await _ids(conn)
    first = {
        order: await _page(idle_api.client, page_size=3, order_by=order) for order in ("created_at", "-created_at")
    }
    await _add(conn, 4, later=timedelta(minutes=1))
    added = [known for known in await _ids(conn) if known not in before]
    expected = {"-created_at": before, "created_at": before[::-1] + added[::-1]}
    for order, page in first.items():
        seen = [item["id"] for item in page["items"]]
        while "next_page_token" in page:
            page = await _page(idle_api.client, page_size=3, order_by=order, page_token=page["next_page_token"])
            seen += [item["id"] for item in page["items"]]
        assert seen == expected[order], order


async def test_a_page_token_that_was_changed_or_is_of_another_call_is_400(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await _add(conn, 6)
    asked = {"page_size": 2, "kind": "tenant.provision", "order_by": "created_at"}
    token = (await _page(idle_api.client, **asked))["next_page_token"]
    query = {"list": "operations", "status": None, "kind": "tenant.provision", "tenant_id": None}
    tokens = idle_api.services.page_tokens
    position = ("2025-01-01T00:00:00+00:00", str(UUID(int=0)))
    signed = {**query, "order_by": "created_at"}
    assert (await _page(idle_api.client, **asked, page_token=tokens.issue(signed, position)))["items"], "a sound one"
    bad = [
        *(token[:place] + ("B" if token[place] == "A" else "A") + token[place + 1 :] for place in range(0, 60, 7)),
        *(token[:-4], token + "AAAA", "", "x", "é", "=" * 8, "A" * 2000),
        PageTokens.of("another pepper").issue(signed, position),
        tokens.issue({**query, "list": "tenants", "order_by": "created_at"}, position),
        tokens.issue(signed, ("yesterday", position[1])),
        tokens.issue(signed, (position[0], "no uuid")),
    ]
    for wrong in bad:
        response = await idle_api.client.get("/v1/operations", params={**asked, "page_token": wrong})
        assert problem(response, 400, "invalid_page_token"), wrong
    for changed in ({"kind": "schema.upgrade"}, {"order_by": "-created_at"}, {"status": "queued"}, {"tenant_id": "t0"}):
        response = await idle_api.client.get("/v1/operations", params={**asked, **changed, "page_token": token})
        problem(response, 400, "invalid_page_token")
    assert await _page(idle_api.client, **{**asked, "page_size": 1}, page_token=token), "its size may change"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("page_size=-1", 400),
        ("page_size=x", 422),
        ("status=odd", 422),
        ("kind=", 422),
        ("order_by=id", 422),
        ("tenant_id=%00", 422),
        ("tenant_id=" + "a" * 37, 422),
        ("page_token=" + "A" * 2001, 400),
        ("state=queued", 422),
    ],
)
async def test_a_query_that_makes_no_sense_is_refused(idle_api: Api, query: str, status: int) -> None:
    problem(await idle_api.client.get(f"/v1/operations?{query}"), status)


async def test_a_kind_that_only_a_newer_release_knows_is_shown_and_left_to_that(
    api: Api, conn: asyncpg.Connection
) -> None:
    """Releases live beside each other: the newer one's work is neither an error nor ours to do."""
    waiting, failed = [str(await conn.fetchval(_UNKNOWN, status)) for status in ("queued", "failed")]
    async with api.database.transaction() as adding:
        await queue.enqueue(adding, UUID(waiting))

    async def delivered() -> bool:
        return not await conn.fetchval("SELECT EXISTS (SELECT FROM bf_queue.pgqueuer)")

    await until(delivered, what="the job's delivery")
    shown = (await api.client.get(f"/v1/operations/{waiting}")).json()
    assert (shown["kind"], shown["status"], shown["attempts"]) == ("tenant.teleport", "queued", 0)
    assert {item["id"] for item in await _read(api.client, page_size=1)} == {waiting, failed}
    refused = await api.client.post(f"/v1/operations/{waiting}/cancel")
    assert "knows no tenant.teleport" in problem(refused, 409, "operation_not_cancellable")["detail"]
    refused = await api.client.post(f"/v1/operations/{failed}/retry")
    assert "knows no tenant.teleport" in problem(refused, 409, "operation_not_retryable")["detail"]
    await conn.execute("UPDATE bf_control.operation SET status = 'running' WHERE id = $1", waiting)
    asked = await api.client.post(f"/v1/operations/{waiting}/cancel")
    assert (asked.status_code, asked.json()["cancel_requested"]) == (202, True)
