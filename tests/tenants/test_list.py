"""GET /v1/tenants: keyset pages."""

import base64
import random
from typing import Any

import asyncpg
import pytest

from tests.support.api import Api
from tests.support.problems import problem

# Rows of the registry are all that a list reads: no schema is built for them.
_FILL = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier,
                               created_by, created_at)
SELECT 'list_' || lpad(n::text, 4, '0'), 'Firm ' || (n % 7), 'bf_list_' || lpad(n::text, 4, '0'),
       CASE n % 10 WHEN 3 THEN 'suspended' WHEN 5 THEN 'deleted' WHEN 7 THEN 'failed' ELSE 'active' END,
       CASE n % 10 WHEN 7 THEN NULL ELSE 1 END, CASE n % 2 WHEN 0 THEN 'standard' ELSE 'premium' END, 'tests',
       timestamptz '2025-01-01' + (n % 5) * interval '1 microsecond'
  FROM generate_series(1, $1) AS n
"""
_TOTAL = 620


@pytest.fixture
async def filled(conn: asyncpg.Connection) -> list[dict[str, Any]]:
    """The rows that are there, deleted ones too; names and creation times have many equals."""
    await conn.execute(_FILL, _TOTAL)
    return [dict(row) for row in await conn.fetch("SELECT * FROM bf_control.tenant")]


async def _walk(api: Api, **params: Any) -> list[list[str]]:
    """The ids of every page, following the tokens."""
    pages: list[list[str]] = []
    token: str | None = None
    while True:
        response = await api.client.get("/v1/tenants", params=params | ({"page_token": token} if token else {}))
        assert response.status_code == 200, response.text
        body = response.json()
        pages.append([item["tenant_id"] for item in body["items"]])
        if "next_page_token" not in body:
            return pages
        token = body["next_page_token"]


def _visible(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["state"] != "deleted"]


async def test_sizes_of_pages(idle_api: Api, filled: list[dict[str, Any]]) -> None:
    total = len(_visible(filled))
    for asked, size in (
        (None, 50),
        (0, 50),
        (1_000_000, 500),
        (10**30, 500),
        (500, 500),
        (501, 500),
        (199, 199),
        (total // 2, total // 2),
    ):
        pages = await _walk(idle_api, **({} if asked is None else {"page_size": asked}))
        assert [len(page) for page in pages[:-1]] == [size] * (len(pages) - 1), asked
        assert 0 < len(pages[-1]) <= size, asked
        assert len({i for page in pages for i in page}) == sum(len(page) for page in pages) == total


async def test_every_order_is_walked_whole_and_once(idle_api: Api, filled: list[dict[str, Any]]) -> None:
    keys: dict[str, Any] = {
        "id": lambda row: row["tenant_id"],
        "name": lambda row: (row["tenant_name"], row["tenant_id"]),
        "created_at": lambda row: (row["created_at"], row["tenant_id"]),
    }
    for name, key in keys.items():
        for order in (name, f"-{name}"):
            wanted = [r["tenant_id"] for r in sorted(_visible(filled), key=key, reverse=order.startswith("-"))]
            pages = await _walk(idle_api, order_by=order, page_size=97)
            assert [i for page in pages for i in page] == wanted, order


async def test_filters(idle_api: Api, filled: list[dict[str, Any]]) -> None:
    for params, keeps in (
        ({"state": "deleted"}, lambda r: r["state"] == "deleted"),
        ({"state": "failed"}, lambda r: r["state"] == "failed"),
        ({"tier": "premium"}, lambda r: r["state"] != "deleted" and r["subscription_tier"] == "premium"),
        ({"q": "FIRM 3"}, lambda r: r["state"] != "deleted" and r["tenant_name"] == "Firm 3"),
        ({"q": "t_001"}, lambda r: r["state"] != "deleted" and "t_001" in r["tenant_id"]),
        ({"q": "%%%"}, lambda r: False),
        ({"q": "Firm 3", "tier": "premium", "state": "active"}, lambda r: (
            r["state"], r["subscription_tier"], r["tenant_name"]) == ("active", "premium", "Firm 3")),
    ):  # fmt: skip
        found = {i for page in await _walk(idle_api, page_size=33, **params) for i in page}
        assert found == {row["tenant_id"] for row in filled if keeps(row)}, params


async def test_a_row_that_appears_or_goes_meanwhile_shifts_nothing(
    idle_api: Api, filled: list[dict[str, Any]], conn: asyncpg.Connection
) -> None:
    first = (await idle_api.client.get("/v1/tenants", params={"page_size": 10})).json()
    ids = [item["tenant_id"] for item in first["items"]]
    await conn.execute("DELETE FROM bf_control.tenant WHERE tenant_id = ANY ($1)", ids[:3] + ids[-1:])
    await conn.execute(
        """INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, created_by)
           VALUES ('aaa', 'New', 'bf_aaa', 'active', 1, 'tests')"""
    )
    params = {"page_size": 10, "page_token": first["next_page_token"]}
    second = (await idle_api.client.get("/v1/tenants", params=params)).json()
    wanted = sorted(row["tenant_id"] for row in _visible(filled))[10:20]
    assert [item["tenant_id"] for item in second["items"]] == wanted


async def test_a_token_that_was_altered_or_belongs_elsewhere_is_400(
    idle_api: Api, filled: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    assert filled
    token: str = (await idle_api.client.get("/v1/tenants", params={"page_size": 5})).json()["next_page_token"]
    generator = random.Random(20250101)  # noqa: S311 -- a test's
    altered = [
        "",
        "x",
        "é",
        "=",
        "A" * 2000,
        "A" * 9000,
        token[:-1],
        token + "A",
        token[1:],
        token.swapcase(),
        "null",
        token + "\n",
    ]
    raw = bytearray(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for _ in range(40):
        flipped = bytearray(raw)
        flipped[generator.randrange(len(raw))] ^= 1 << generator.randrange(8)
        altered.append(base64.urlsafe_b64encode(flipped).decode().rstrip("="))
    for forged in altered:
        with subtests.test(forged[:40]):
            response = await idle_api.client.get("/v1/tenants", params={"page_size": 5, "page_token": forged})
            problem(response, 400, "invalid_page_token")
    for other in ({"order_by": "-id"}, {"state": "active"}, {"tier": "premium"}, {"q": "firm"}):
        with subtests.test(str(other)):
            response = await idle_api.client.get("/v1/tenants", params={"page_token": token, **other})
            problem(response, 400, "invalid_page_token")
    assert (await idle_api.client.get("/v1/tenants", params={"page_token": token, "page_size": 7})).status_code == 200


async def test_what_makes_no_sense_is_a_problem(idle_api: Api, subtests: pytest.Subtests) -> None:
    for params, status in (
        ({"page_size": "-1"}, 400), ({"page_size": "many"}, 422), ({"page_size": "1.5"}, 422),
        ({"order_by": "tenant_id; DROP"}, 422), ({"state": "ACTIVE"}, 422), ({"tier": "A'"}, 422),
        ({"q": "ab"}, 422), ({"q": "abc\0"}, 422), ({"q": "x" * 256}, 422),
    ):  # fmt: skip
        with subtests.test(str(params)[:60]):
            problem(await idle_api.client.get("/v1/tenants", params=params), status)
