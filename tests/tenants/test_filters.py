"""GET /v1/tenants: what a list may be asked for, and pages of it while it changes."""

import itertools
from datetime import datetime
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.problems import problem

# Rows of the registry are all that a list reads: no schema is built for them.
_FILL = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, features,
                               created_by, created_at)
SELECT id, 'Firm ' || (n % 4), 'bf_' || id, CASE n % 8 WHEN 3 THEN 'suspended' WHEN 5 THEN 'deleted' ELSE 'active' END,
       n % 3, CASE n % 2 WHEN 0 THEN 'standard' ELSE 'premium' END,
       CASE n % 3 WHEN 0 THEN '{ai_insights,zeta}' WHEN 1 THEN '{ai}' ELSE '{}' END::text[], 'tests',
       timestamptz '2025-01-01' + (n % 5) * interval '1 microsecond'
  FROM (SELECT n, 'list_' || lpad(n::text, 3, '0') AS id FROM generate_series(1, $1) AS n) AS s
"""
_ORDERS = ("id", "-id", "name", "-name", "created_at", "-created_at")
_VALUES = {"id": "tenant_id", "name": "tenant_name", "created_at": "created_at"}


@pytest.fixture
async def filled(conn: asyncpg.Connection) -> list[dict[str, Any]]:
    """The rows that a list shows unless it is asked for deleted ones."""
    await conn.execute(_FILL, 60)
    return [dict(row) for row in await conn.fetch("SELECT * FROM bf_control.tenant WHERE state <> 'deleted'")]


async def _page(api: Api, **params: Any) -> dict[str, Any]:
    answer = await api.client.get("/v1/tenants", params={k: v for k, v in params.items() if v is not None})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


async def _walk(api: Api, **params: Any) -> list[str]:
    ids: list[str] = []
    token: str | None = None
    while True:
        page = await _page(api, page_token=token, **params)
        ids += [item["tenant_id"] for item in page["items"]]
        token = page.get("next_page_token")
        if token is None:
            return ids


def _comparable(value: str, name: str) -> Any:
    return datetime.fromisoformat(value) if name == "created_at" else value


async def test_every_pair_of_filters_keeps_what_both_keep(
    idle_api: Api, filled: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    single = (
        ({"tier": "premium"}, lambda r: r["subscription_tier"] == "premium"),
        ({"feature": "ai_insights"}, lambda r: "ai_insights" in r["features"]),
        ({"feature": "ai"}, lambda r: "ai" in r["features"]),
        ({"schema_version": 0}, lambda r: r["schema_version"] == 0),
        ({"schema_version": 2**31 - 1}, lambda r: False),
        ({"state": "suspended"}, lambda r: r["state"] == "suspended"),
        ({"q": "FIRM 2"}, lambda r: r["tenant_name"] == "Firm 2"),
        ({"q": "st_01"}, lambda r: "st_01" in r["tenant_id"]),
    )
    for (one, keeps), (other, keeps_too) in itertools.combinations_with_replacement(single, 2):
        if one.keys() & other.keys() and one != other:
            continue
        with subtests.test(str(one | other)):
            wanted = sorted(row["tenant_id"] for row in filled if keeps(row) and keeps_too(row))
            assert await _walk(idle_api, page_size=7, **(one | other)) == wanted


async def test_an_update_in_sql_is_seen_by_the_feature_filter_at_once(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    assert await _walk(idle_api, feature="ai_insights") == []
    await conn.execute("""UPDATE bf_shared.tenant_config SET features_enabled = '["ai_insights", "x1"]'""")
    assert await _walk(idle_api, feature="ai_insights") == ["acme_corp"]
    assert await _walk(idle_api, feature="ai") == [], "a part of a name is no name"
    await conn.execute("UPDATE bf_shared.tenant_config SET features_enabled = '[]', subscription_tier = 'gold'")
    assert await _walk(idle_api, feature="ai_insights") == []
    assert await _walk(idle_api, tier="gold") == ["acme_corp"]


async def test_pages_of_every_order_over_a_list_that_changes(
    idle_api: Api, conn: asyncpg.Connection, filled: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    """Rows go and come between any two pages: each that stays is shown exactly once, and in order."""
    gone: set[str] = set()
    for number, order in enumerate(_ORDERS):
        with subtests.test(order):
            name, seen, token, round_ = _VALUES[order.lstrip("-")], list[dict[str, Any]](), None, 0
            while True:
                page = await _page(idle_api, order_by=order, page_size=9, page_token=token)
                seen += page["items"]
                token = page.get("next_page_token")
                if token is None:
                    break
                round_ += 1
                last = page["items"][-1]["tenant_id"]
                await conn.execute("DELETE FROM bf_control.tenant WHERE tenant_id = $1", last)
                gone.add(last)
                # One before everything and one behind it, by each of the three orders.
                for edge, year in (("aaa", 2001), ("zzz", 2099)):
                    await conn.execute(
                        """INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version,
                                                          created_by, created_at)
                           VALUES ($1::text, $2, concat('bf_', $1::text), 'active', 1, 'tests', make_date($3, 1, 1))""",
                        f"{edge}_{number}_{round_}",
                        edge.upper() if edge == "aaa" else edge,
                        year,
                    )
            values = [(_comparable(item[name], name), item["tenant_id"]) for item in seen]
            assert values == sorted(values, reverse=order.startswith("-"))
            shown = [item["tenant_id"] for item in seen]
            assert len(shown) == len(set(shown))
            assert {row["tenant_id"] for row in filled} - gone <= set(shown)


async def test_a_token_goes_with_what_was_asked_and_nothing_else(
    idle_api: Api, filled: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    assert filled
    asked = {"tier": "premium", "order_by": "name", "page_size": 3}
    token = (await _page(idle_api, **asked))["next_page_token"]
    assert (await _page(idle_api, **asked, page_token=token))["items"]
    assert (await _page(idle_api, **{**asked, "page_size": 400}, page_token=token))["items"]
    for change in (
        {"tier": "standard"}, {"tier": None}, {"order_by": "-name"}, {"order_by": None}, {"state": "active"},
        {"feature": "ai"}, {"schema_version": 1}, {"q": "firm"},
    ):  # fmt: skip
        with subtests.test(str(change)):
            params = {k: v for k, v in {**asked, **change, "page_token": token}.items() if v is not None}
            problem(await idle_api.client.get("/v1/tenants", params=params), 400, "invalid_page_token")


async def test_a_token_of_another_list_is_400(
    idle_api: Api, conn: asyncpg.Connection, filled: list[dict[str, Any]], subtests: pytest.Subtests
) -> None:
    assert filled
    await conn.execute(
        "INSERT INTO bf_control.operation (kind, actor) SELECT 'schema.upgrade', 'x' FROM generate_series(1, 5)"
    )
    tokens = {}
    for path in ("/v1/tenants", "/v1/operations"):
        answer = await idle_api.client.get(path, params={"page_size": 2, "order_by": "-created_at"})
        tokens[path] = answer.json()["next_page_token"]
    for path, other in itertools.permutations(tokens):
        with subtests.test(f"of {other} at {path}"):
            params = {"page_size": 2, "order_by": "-created_at", "page_token": tokens[other]}
            problem(await idle_api.client.get(path, params=params), 400, "invalid_page_token")
    for path, token in tokens.items():
        other = token[:20] + ("B" if token[20] == "A" else "A") + token[21:]
        for altered in (token[:-2], token[2:], token.swapcase(), f"{token}AA", other):
            with subtests.test(f"altered at {path}"):
                params = {"order_by": "-created_at", "page_token": altered}
                problem(await idle_api.client.get(path, params=params), 400, "invalid_page_token")


async def test_sizes_of_a_page(idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    await conn.execute(_FILL, 700)
    for asked, size in ((None, 50), ("0", 50), ("1", 1), ("500", 500), ("501", 500), ("2147483648", 500)):
        with subtests.test(str(asked)):
            assert len((await _page(idle_api, page_size=asked))["items"]) == size
    for path in ("/v1/tenants", "/v1/operations"):
        for asked, status, code in (
            ("-1", 400, "invalid_page_size"), ("-2147483648", 400, "invalid_page_size"),
            ("many", 422, "validation_failed"),
            ("1.5", 422, "validation_failed"), ("", 422, "validation_failed"), ("0x10", 422, "validation_failed"),
        ):  # fmt: skip
            with subtests.test(f"{path} {asked}"):
                problem(await idle_api.client.get(path, params={"page_size": asked}), status, code)


async def test_filters_that_make_no_sense_are_422_and_named(idle_api: Api, subtests: pytest.Subtests) -> None:
    for name, value in (
        ("feature", "Not OK"), ("feature", ""), ("feature", "a" * 64), ("feature", "a,b"), ("feature", "a'"),
        ("schema_version", ""), ("schema_version", "-1"), ("schema_version", "one"), ("schema_version", "2147483648"),
        ("schema_version", "1.5"), ("state", "sleeping"), ("state", ""), ("tier", "GOLD"), ("q", "ab"), ("q", ""),
        ("order_by", "--id"),
        ("order_by", "tenant_id"), ("order_by", "id,name"), ("order_by", ""), ("state", "active,failed"),
    ):  # fmt: skip
        with subtests.test(f"{name}={value}"):
            answer: httpx.Response = await idle_api.client.get("/v1/tenants", params={name: value})
            body = problem(answer, 422, "validation_failed")
            assert [error["pointer"] for error in body["errors"]] == [f"query/{name}"]
