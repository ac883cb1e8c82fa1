"""GET /v1/health/…: filters, orders, pages, and the time it was seen."""

from collections.abc import AsyncIterator
from typing import Any, get_args

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.collect import page_queries
from app.settings import Settings
from tests.collect.support import collect
from tests.support.api import running_api
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for

_LISTS = ("fleet", "tables", "indexes", "queries", "connections")


@pytest.fixture(scope="module")
async def collected(
    cluster: Cluster, template: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[httpx.AsyncClient]:
    """Three tenants, of which acme lacks a table and globex has an invalid index; a viewer asks."""
    dsn = await cluster.create_database(template=template)
    conn = await asyncpg.connect(dsn)
    for tenant_id in ("acme", "globex", "initech"):
        await make_tenant(conn, tenant_id)
    await conn.execute("DROP TABLE bf_acme.scenarios")
    await conn.close()
    admin = await cluster.superuser(dsn.rpartition("/")[2])
    await admin.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'bf_globex.idx_globex_budgets_status'::regclass"
    )
    await admin.close()
    clients = [await asyncpg.connect(dsn, server_settings={"application_name": f"client {n}"}) for n in (1, 2, 2)]
    await collect(dsn)
    for client in clients:
        await client.close()
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path_factory.mktemp("keys") / "admin-key")
    async with running_api(settings, with_worker=False) as api:
        api.client.headers["Authorization"] = f"Bearer {await api.key(Role.VIEWER)}"
        yield api.client
    await cluster.drop_database(dsn.rpartition("/")[2])


async def _every(client: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """All items of all pages."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await client.get(f"/v1/health/{path}", params=query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        items += body["items"]
        if "next_page_token" not in body:
            return items
        query["page_token"] = body["next_page_token"]


_ORDERS = [
    ("tables", order, ("tenant_id", "table_name")) for order in get_args(page_queries.TableOrder)
] + [
    ("indexes", order, ("tenant_id", "index_name")) for order in get_args(page_queries.IndexOrder)
] + [
    ("fleet", order, ("tenant_id",)) for order in get_args(page_queries.SchemaOrder)
] + [
    ("connections", order, ("role", "application", "state")) for order in get_args(page_queries.ConnectionOrder)
]  # fmt: skip


@pytest.mark.parametrize(("path", "order", "names"), _ORDERS)
async def test_pages_have_every_row_once_in_each_order(
    collected: httpx.AsyncClient, path: str, order: str, names: tuple[str, ...]
) -> None:
    whole = await _every(collected, path, order_by=order, page_size=500)
    paged = await _every(collected, path, order_by=order, page_size=2)
    assert paged == whole
    keys = [(item[order.lstrip("-")], *(item[name] for name in names)) for item in whole]
    assert len(set(keys)) == len(keys) > 1
    assert keys == sorted(keys, reverse=order.startswith("-"))


async def test_filters_choose(collected: httpx.AsyncClient) -> None:
    acme = await _every(collected, "tables", tenant_id="acme")
    assert {item["table_name"] for item in acme} == {
        "budgets", "budget_lines", "forecasts", "forecast_data_points", "variance_analysis",
    }  # fmt: skip
    assert {item["tenant_id"] for item in await _every(collected, "tables", table="scenarios")} == {"globex", "initech"}
    invalid = await _every(collected, "indexes", only="invalid")
    assert [item["index_name"] for item in invalid] == ["idx_globex_budgets_status"]
    assert await _every(collected, "indexes", only="invalid", tenant_id="acme") == []
    unused = await _every(collected, "indexes", only="unused", tenant_id="acme", order_by="-bytes", page_size=3)
    assert len(unused) > 5
    assert all(item["is_unused"] and not item["is_unique"] for item in unused)
    assert await _every(collected, "connections", state="nothing at all") == []


async def test_the_fleet_tells_what_is_missing_and_how_collecting_goes(collected: httpx.AsyncClient) -> None:
    body = (await collected.get("/v1/health/fleet", params={"broken": True})).json()
    acme, globex = body["items"]
    assert acme["missing_tables"] == ["scenarios"]
    assert (globex["tenant_id"], globex["invalid_indexes"]) == ("globex", 1)
    assert {each["collector"]: each["error"] for each in body["collections"]} == {
        "fleet": None, "history": None, "statements": None, "tenants": None,
    }  # fmt: skip
    assert body["database"]["tenants"][0]["tenants"] == 3
    assert body["taken_at"] is not None


async def test_queries_say_how_to_have_them(collected: httpx.AsyncClient) -> None:
    body = (await collected.get("/v1/health/queries")).json()
    assert body["items"] == []
    assert body["notes"][0]["mend"].startswith("CREATE EXTENSION pg_stat_statements")


@pytest.mark.parametrize("path", _LISTS)
async def test_a_token_of_another_query_is_refused(collected: httpx.AsyncClient, path: str) -> None:
    token = (await collected.get("/v1/health/tables", params={"page_size": 1})).json()["next_page_token"]
    for query, status in (
        (
            {"page_token": token, "page_size": 1, "order_by": "dead_rows"}
            if path == "tables"
            else {"page_token": token},
            400,
        ),
        ({"page_token": "AAAA"}, 400),
        ({"page_size": -1}, 400),
        ({"order_by": "nothing"}, 422),
        ({"offset": 1}, 422),
    ):
        answer = await collected.get(f"/v1/health/{path}", params=query)
        assert answer.status_code == status, (query, answer.text)


@pytest.mark.parametrize("path", _LISTS)
async def test_before_the_first_collection_there_is_nothing_and_it_says_so(settings: Settings, path: str) -> None:
    async with running_api(settings, with_worker=False) as api:
        body = (await api.client.get(f"/v1/health/{path}")).json()
    assert body["items"] == []
    assert body["taken_at"] is None
    assert "bf-admin worker" in body["notes"][0]["mend"]
