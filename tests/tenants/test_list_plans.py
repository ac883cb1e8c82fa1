"""GET /v1/tenants over many rows: which index each list walks, and what keeps those in step with the registry."""

import itertools
import json
import random
from dataclasses import replace
from typing import Any, Final, Literal

import asyncpg
import pytest

from app.registry.page_queries import OrderBy, Shape, statement
from tests.support.api import Api
from tests.support.data import make_tenant

_ROWS: Final = 20_000
ORDERS: Final[tuple[OrderBy, ...]] = ("id", "-id", "name", "-name", "created_at", "-created_at")
_FILL = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, subscription_tier, features,
                               created_by, created_at)
SELECT id, 'Firm ' || md5(n::text), 'bf_' || id,
       CASE n % 8 WHEN 3 THEN 'suspended' WHEN 5 THEN 'deleted' ELSE 'active' END,
       1 + n / 3 % 3, (ARRAY['basic', 'standard', 'premium', 'enterprise'])[1 + n / 7 % 4],
       CASE n % 4 WHEN 0 THEN '{ai_insights}' ELSE '{}' END::text[], 'tests',
       timestamptz '2025-01-01' + (hashint4(n) % 1000000) * interval '1 second'
  FROM (SELECT n, 'list_' || lpad(n::text, 5, '0') AS id FROM generate_series(1, $1::integer) AS n) AS s
"""
_PREPARE = "PREPARE page (text, text, text, integer, text, text, text, bigint) AS"
_EXPLAIN = """
EXPLAIN (FORMAT JSON) EXECUTE page ('active', 'premium', 'ai_insights', 2, 'firm 12ab', 'Firm 8', 'list_1', 101)
"""
_STEPS = (
    "UPDATE bf_control.tenant SET features = '{ai_insights,zeta}' WHERE tenant_id = $1",
    "UPDATE bf_control.tenant SET features = '{zeta,beta}' WHERE tenant_id = $1",
    "UPDATE bf_control.tenant SET features = '{}' WHERE tenant_id = $1",
    """UPDATE bf_control.tenant SET features = ARRAY['twice', 'twice', 'No Name', NULL, repeat('x', 500)]
        WHERE tenant_id = $1""",
    "UPDATE bf_control.tenant SET tenant_name = tenant_name || 'x' WHERE tenant_id = $1",
    "UPDATE bf_control.tenant SET created_at = created_at - interval '1 day' WHERE tenant_id = $1",
    "UPDATE bf_control.tenant SET state = 'deleted' WHERE tenant_id = $1",
    "UPDATE bf_control.tenant SET state = 'active' WHERE tenant_id = $1",
    "UPDATE bf_control.tenant SET state = 'suspended', features = '{beta}' WHERE tenant_id = $1",
    "DELETE FROM bf_control.tenant WHERE tenant_id = $1",
)
_LISTED = "SELECT feature, tenant_id, tenant_name, created_at FROM bf_control.listed_feature ORDER BY 1, 2"
_TO_BE_LISTED = """
SELECT DISTINCT f.feature COLLATE "C" AS feature, t.tenant_id, t.tenant_name, t.created_at
  FROM bf_control.tenant t CROSS JOIN LATERAL unnest(t.features) AS f(feature)
 WHERE t.state <> 'deleted' AND f.feature ~ '^[a-z][a-z0-9_]{0,62}$' ORDER BY 1, 2
"""


@pytest.fixture
async def many(conn: asyncpg.Connection) -> None:
    await conn.execute(_FILL, _ROWS)
    await conn.execute("ANALYZE bf_control.tenant")
    await conn.execute("ANALYZE bf_control.listed_feature")


async def test_each_filter_and_order_walks_an_index_and_sorts_nothing(
    conn: asyncpg.Connection, many: None, subtests: pytest.Subtests
) -> None:
    """Of plans that know no values, which is what a statement has that was prepared long ago."""
    columns = {"id": "id", "name": "name", "created_at": "created"}
    for order in ORDERS:
        column = columns[order.lstrip("-")]
        state_id = "tenant_state_idx" if column == "id" else f"tenant_state_{column}_idx"
        feature_id = "listed_feature_pkey" if column == "id" else f"listed_feature_{column}_idx"
        for shape, index in (
            (Shape(order_by=order), f"tenant_listed_{column}_idx"),
            (Shape(order_by=order, state="deleted"), state_id),
            (Shape(order_by=order, state="other"), state_id),
            (Shape(order_by=order, tier=True), f"tenant_listed_tier_{column}_idx"),
            (Shape(order_by=order, schema_version=True), f"tenant_listed_version_{column}_idx"),
            (Shape(order_by=order, feature=True), feature_id),
        ):
            for beyond in (False, True):
                with subtests.test(str((shape, beyond))):
                    plan = await _plan(conn, replace(shape, beyond=beyond))
                    assert index in plan, plan
                    assert not {"Seq Scan", "Sort", "Bitmap Heap Scan"} & plan, plan


async def test_what_is_rare_is_searched_by_trigrams(conn: asyncpg.Connection, many: None) -> None:
    for order in ORDERS:
        plan = await _plan(conn, Shape(order_by=order, searched="trigrams"))
        assert "tenant_search_idx" in plan, plan
        assert "Seq Scan" not in plan, plan


async def test_every_combination_of_filters_and_order_prepares(conn: asyncpg.Connection) -> None:
    states: tuple[Literal["listed", "deleted", "other"], ...] = ("listed", "deleted", "other")
    searches: tuple[Literal["no", "looking", "trigrams"], ...] = ("no", "looking", "trigrams")
    both = (False, True)
    for state, searched, order in itertools.product(states, searches, ORDERS):
        for tier, feature, version, beyond in itertools.product(both, both, both, both):
            shape = Shape(
                state=state,
                tier=tier,
                feature=feature,
                schema_version=version,
                searched=searched,
                beyond=beyond,
                order_by=order,
            )
            await conn.execute(f"{_PREPARE} {statement(shape)}")
            await conn.execute("DEALLOCATE page")


async def test_a_search_finds_what_is_beyond_the_tenants_it_looks_at_first(
    idle_api: Api, conn: asyncpg.Connection, many: None
) -> None:
    for words, wanted in (
        ("list_19999", ["list_19999"]),
        ("T_19998", ["list_19998"]),
        ("no such", []),
        ("9999", ["list_09999", "list_19999"]),
    ):
        rows = await conn.fetch(
            """SELECT tenant_id FROM bf_control.tenant
                WHERE state <> 'deleted' AND strpos(lower(tenant_name), lower($1)) > 0""",
            words,
        )
        deleted = {r["tenant_id"] for r in await conn.fetch(
            "SELECT tenant_id FROM bf_control.tenant WHERE state = 'deleted'")}  # fmt: skip
        expected = sorted(({row["tenant_id"] for row in rows} | set(wanted)) - deleted)
        for order in ORDERS:
            answer = await idle_api.client.get("/v1/tenants", params={"q": words, "order_by": order, "page_size": 500})
            assert sorted(item["tenant_id"] for item in answer.json()["items"]) == expected, (words, order)


async def test_a_search_knows_letters_beyond_ascii_and_nothing_across_id_and_name(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme_corp", "École Ünïted")
    for words, found in (
        ("ole ün", True), ("ole ü", True), ("éco", True), ("corp\u00c9", False), ("orp", True), ("rp É", False),
    ):  # fmt: skip
        answer = await idle_api.client.get("/v1/tenants", params={"q": words})
        assert bool(answer.json()["items"]) is found, words


async def test_the_list_of_features_follows_the_registry(conn: asyncpg.Connection) -> None:
    """Whatever SQL does to it, in whichever order."""
    seed = random.randrange(2**32)  # noqa: S311 -- a test's
    generator = random.Random(seed)  # noqa: S311 -- a test's
    ids = [f"list_{n:05}" for n in range(1, 21)]
    await conn.execute(_FILL, len(ids))
    for _ in range(300):
        await conn.execute(generator.choice(_STEPS), generator.choice(ids))
        if await conn.fetchval("SELECT count(*) FROM bf_control.tenant") < len(ids) // 2:
            await conn.execute("DELETE FROM bf_control.tenant")
            await conn.execute(_FILL, len(ids))
        assert await conn.fetch(_LISTED) == await conn.fetch(_TO_BE_LISTED), seed
    await conn.execute("DELETE FROM bf_control.tenant")
    assert await conn.fetch(_LISTED) == []


async def _plan(conn: asyncpg.Connection, shape: Shape) -> set[str]:
    """The kinds of its nodes, and the indexes they use."""
    await conn.execute("SET plan_cache_mode = force_generic_plan")
    await conn.execute(f"{_PREPARE} {statement(shape)}")
    try:
        explained = json.loads(await conn.fetchval(_EXPLAIN))
    finally:
        await conn.execute("DEALLOCATE page")
    return set(_nodes(explained[0]["Plan"]))


def _nodes(node: dict[str, Any]) -> list[str]:
    found = [node["Node Type"], node.get("Index Name", "")]
    for child in node.get("Plans", ()):
        found += _nodes(child)
    return found
