"""Backup of a cluster and restore into another, by the commands of docs/operations.md as they stand there.

From the tested PostgreSQL into the newest, with the client programs of that.
"""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from app.db.embedded import Binaries
from tests.support import oracle
from tests.support.cluster import MIGRATION_USER, Cluster
from tests.support.processes import Finished, bf_admin, environment, run, served
from tests.upgrades.releases import ROOT

_BLOCK: Final = re.compile(r"<!-- run: (\S+) -->\n```\w+\n(.*?)```", re.S)
_BUDGET = """
INSERT INTO {}.budgets (id, tenant_id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
SELECT 'b' || n, current_setting('app.current_tenant'), 'Budget ' || n, 'annual', 2025, '2025-01-01', '2025-12-31'
  FROM generate_series(1, 3) AS n
"""
_TENANTS = ("acme_corp", "global_inc")


def _documented() -> dict[str, str]:
    return dict(_BLOCK.findall((ROOT / "docs" / "operations.md").read_text()))


@pytest.fixture
async def old(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    cluster = await asyncio.to_thread(Cluster.start, tmp_path_factory.mktemp("old") / "data")
    yield cluster
    await asyncio.to_thread(cluster.stop)


@pytest.fixture
async def new(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    """As a package leaves it: with its superuser, and no role of ours."""
    place = tmp_path_factory.mktemp("new") / "data"
    cluster = await asyncio.to_thread(Cluster.start, place, binaries=Binaries.packaged())
    admin = await cluster.superuser("postgres")
    await admin.execute(f"DROP ROLE {MIGRATION_USER}")
    await admin.close()
    yield cluster
    await asyncio.to_thread(cluster.stop)


async def _filled(cluster: Cluster, directory: Path) -> str:
    """Two tenants with data, and an application's login, in database bf; returns the migration user's DSN."""
    dsn = await cluster.create_database("bf")
    env = environment(dsn)
    assert (await bf_admin("upgrade", env=env)).code == 0
    async with served("--with-worker", env=env, directory=directory) as service:
        for tenant_id in _TENANTS:
            body = {"tenant_id": tenant_id, "tenant_name": tenant_id, "features_enabled": ["ai_insights"]}
            answer = await service.client.post("/v1/tenants", json=body, headers={"Prefer": "wait=20"})
            assert answer.status_code == 201, answer.text
        await _settled(dsn)
    admin = await cluster.superuser("bf")
    await admin.execute("CREATE ROLE application LOGIN PASSWORD 'app'; GRANT app_role TO application")
    await admin.close()
    for tenant_id in _TENANTS:
        await _as_application(cluster, tenant_id, _BUDGET.format(f"bf_{tenant_id}"))
    return dsn


async def _as_application(cluster: Cluster, tenant_id: str, statement: str) -> list[asyncpg.Record]:
    conn = await asyncpg.connect(cluster.dsn("bf", "application", "app"))
    try:
        async with conn.transaction():
            await conn.execute("SELECT bf_shared.set_tenant_context($1, 'user_42')", tenant_id)
            return list(await conn.fetch(statement))
    finally:
        await conn.close()


async def _shell(name: str, *, directory: Path, **variables: str) -> Finished:
    """A documented block, in bash as it is typed, with PostgreSQL's client programs and ours at hand."""
    programs = [str(Binaries.packaged().bin_dir), str(Path(sys.executable).parent)]
    path = ":".join([*programs, "/usr/bin", "/bin"])
    return await run(
        "bash", "-eu", "-o", "pipefail", "-c", _documented()[name], env={"PATH": path, **variables}, cwd=directory
    )


def _server(cluster: Cluster) -> str:
    return cluster.superuser_dsn("").rstrip("/")


async def test_a_cluster_is_restored_row_by_row_and_served(old: Cluster, new: Cluster, tmp_path: Path) -> None:
    dsn = await _filled(old, tmp_path)
    (tmp_path / "rows.sql").write_text(_documented()["rows.sql"])
    backup = await _shell("backup", directory=tmp_path, OLD=_server(old))
    assert (backup.code, backup.stderr) == (0, "")
    counted = {line.split("|")[0]: line.split("|")[1] for line in (tmp_path / "rows.before").read_text().splitlines()}
    assert (counted["bf_acme_corp.budgets"], counted["bf_global_inc.budgets"]) == ("3", "3")
    assert (counted["bf_control.tenant"], counted["bf_control.operation"]) == ("2", "2")

    restored = await _shell("restore", directory=tmp_path, NEW=_server(new))
    assert (restored.code, restored.stdout, restored.stderr) == (0, "", "")
    assert (tmp_path / "rows.after").read_text() == (tmp_path / "rows.before").read_text()

    there = new.dsn("bf", MIGRATION_USER, old.migration_password)
    env = environment(there)
    looked = await _shell("look", directory=tmp_path, **{name: env[name] for name in env if "DATABASE_URL" in name})
    assert looked.code == 0, looked
    assert "The schema is up to date." in looked.stdout
    assert all(tenant_id in looked.stdout for tenant_id in _TENANTS)
    await _serves(new, there, tmp_path)
    assert dsn != there


async def _serves(cluster: Cluster, dsn: str, directory: Path) -> None:
    """With the API key, the passwords and the policies of before."""
    async with served("--with-worker", env=environment(dsn), directory=directory) as service:
        items = (await service.client.get("/v1/tenants")).json()["items"]
        assert [(item["tenant_id"], item["state"]) for item in items] == [(name, "active") for name in _TENANTS]
        assert (await service.client.get("/v1/schema")).json()["up_to_date"] is True
        body = {"tenant_id": "after_all", "tenant_name": "A"}
        answer = await service.client.post("/v1/tenants", json=body, headers={"Prefer": "wait=20"})
        assert answer.status_code == 201, answer.text
        await _settled(dsn)
    for tenant_id in _TENANTS:
        rows = await _as_application(cluster, tenant_id, "SELECT tenant_id FROM budgets")
        assert [row["tenant_id"] for row in rows] == [tenant_id] * 3
    for mine, theirs in (_TENANTS, _TENANTS[::-1]):
        assert await _as_application(cluster, mine, f"SELECT FROM bf_{theirs}.budgets") == []
    await oracle.assert_clean(dsn)


async def _settled(dsn: str) -> None:
    conn = await asyncpg.connect(dsn)
    await oracle.settled(conn)
    await conn.close()


async def test_what_the_owner_dumps_depends_on_the_audit_role(old: Cluster, tmp_path: Path) -> None:
    dsn = await _filled(old, tmp_path)

    async def dump(*options: str) -> tuple[int, int, str]:
        command = (str(Binaries.packaged().bin_dir / "pg_dump"), "-d", dsn, "--inserts", *options)
        finished = await run(*command, env={})
        return finished.code, finished.stdout.count("INSERT INTO bf_acme_corp.budgets"), finished.stderr

    code, _, stderr = await dump()
    assert (code, "query would be affected by row-level security policy" in stderr) == (1, True), stderr
    assert await dump("--enable-row-security") == (0, 3, "")
    code, _, stderr = await dump("--enable-row-security", "--role=audit_role")
    assert (code, "permission denied for schema bf_control" in stderr) == (1, True), stderr
    assert await dump("--enable-row-security", "--role=audit_role", "--schema=bf_acme_corp") == (0, 3, "")
    admin = await old.superuser("bf")
    await admin.execute(f"REVOKE audit_role FROM {MIGRATION_USER} CASCADE")
    if admin.get_server_version() >= (16,):
        await admin.execute(f"REVOKE audit_role FROM {MIGRATION_USER} GRANTED BY {MIGRATION_USER}")
    await admin.close()
    assert await dump("--enable-row-security") == (0, 0, "")
