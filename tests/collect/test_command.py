"""bf-admin health, and client.monitoring: the same as over REST."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.client import AsyncClient, SnapshotPage
from tests.collect.support import collect
from tests.support.api import running_api
from tests.support.cluster import Cluster
from tests.support.command import command
from tests.support.data import make_tenant, settings_for
from tests.support.processes import environment


@pytest.fixture(scope="module")
async def seen(cluster: Cluster, template: str) -> AsyncIterator[str]:
    """Two tenants, of which acme lacks a table."""
    dsn = await cluster.create_database(template=template)
    conn = await asyncpg.connect(dsn)
    for tenant_id in ("acme", "globex"):
        await make_tenant(conn, tenant_id)
    await conn.execute("DROP TABLE bf_acme.scenarios")
    await collect(dsn)
    await conn.close()
    yield dsn
    await cluster.drop_database(dsn.rpartition("/")[2])


async def test_each_list_is_a_table_and_one_json_document(seen: str) -> None:
    env = environment(seen)
    for name in ("fleet", "tables", "indexes", "queries", "connections"):
        first = "role" if name == "connections" else "tenant"
        shown = await command("health", name, env=env)
        assert shown.code == 0, shown
        assert any(line.split("\t")[0] == first for line in shown.stdout.splitlines()), shown
        assert "Seen at" in shown.stderr
        document = json.loads((await command("health", name, "--json", env=env)).stdout)
        assert {"items", "taken_at", "notes"} <= document.keys()


async def test_filters_and_orders(seen: str) -> None:
    env = environment(seen)
    broken = (await command("health", "fleet", "--broken", env=env)).stdout.splitlines()[-1]
    assert broken.startswith("acme\t")
    assert "missing: scenarios" in broken
    tables = json.loads((await command("health", "tables", "--tenant-id", "acme", "--json", env=env)).stdout)["items"]
    assert len(tables) == 5
    unused = await command("health", "indexes", "--unused", "--limit", "2", "--json", env=env)
    assert len(json.loads(unused.stdout)["items"]) == 2
    queries = await command("health", "queries", env=env)
    assert "CREATE EXTENSION pg_stat_statements" in queries.stderr
    for arguments, said in (
        (("tables", "--order-by", "name"), "--order-by: is one of total_bytes"),
        (("indexes", "--unused", "--invalid"), "--invalid"),
    ):
        refused = await command("health", *arguments, env=env)
        assert refused.code == 2
        assert said in refused.stderr


async def test_the_client_reads_every_page(seen: str, tmp_path: Path) -> None:
    settings = settings_for(seen, bootstrap_admin_key_file=tmp_path / "admin-key")
    async with (
        running_api(settings, with_worker=False) as api,
        AsyncClient(
            "http://test", api_key=await api.key(Role.VIEWER), transport=httpx.ASGITransport(api.app)
        ) as client,
    ):
        fleet = await client.monitoring.fleet()
        assert fleet.database is not None
        assert fleet.database.tenants[0].tenants == 2
        assert {each.collector for each in fleet.collections} == {"fleet", "tenants", "statements", "history"}
        broken = [schema async for schema in client.monitoring.schemas(broken=True)]
        assert [schema.missing_tables for schema in broken] == [("scenarios",)]
        tables = [table async for table in client.monitoring.tables(order_by="tenant_id", page_size=2)]
        assert len(tables) == 11
        assert [index async for index in client.monitoring.indexes(only="invalid")] == []
        assert [row async for row in client.monitoring.connections(state="nothing")] == []
        (page,) = [page async for page in client.monitoring.queries().pages()]
        assert isinstance(page, SnapshotPage)
        assert (page.notes[0].mend or "").startswith("CREATE EXTENSION")
