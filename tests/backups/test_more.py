"""Backups elsewhere than in a directory, of other versions, cancelled ones; and tenants without a schema."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.backups import programs
from app.db.pool import Database
from app.settings import Settings
from tests.support import gates, oracle, rows
from tests.support.api import Api, running_api
from tests.support.data import schemas, settings_for
from tests.support.plans import confirmed
from tests.support.polling import ended, until
from tests.support.problems import problem
from tests.support.programs import pg_dump_that

_PATH = "/v1/tenants/acme_corp"
_WAIT = {"Prefer": "wait=30"}
_CONFIG = "SELECT to_jsonb(c) - 'updated_at' FROM bf_shared.tenant_config c"
_COUNTERS = "SELECT used FROM bf_control.usage_counter WHERE tenant_id = 'acme_corp'"


async def _ok(answer: Any, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.usefixtures("tenant")
async def test_any_url_of_fsspec_s_is_a_place(idle_api: Api, settings: Settings, dsn: str, database: Database) -> None:
    elsewhere = settings_for(
        dsn, bootstrap_admin_key_file=settings.bootstrap_admin_key_file, backup_url="memory://tests/backups/"
    )
    before = await rows.sums(database)
    async with running_api(elsewhere, with_worker=True):
        await _ok(await idle_api.client.delete(_PATH))
        await _ok(await confirmed(idle_api.client, f"{_PATH}/purge", headers=_WAIT))
        (backup,) = (await _ok(await idle_api.client.get(f"{_PATH}/backups")))["items"]
        assert backup["url"].startswith("memory://tests/backups/acme_corp/")
        await _ok(await idle_api.client.post(f"{_PATH}/restore", headers=_WAIT))
    assert await rows.sums(database) == before


@pytest.mark.usefixtures("tenant")
async def test_a_backup_of_an_older_version_is_migrated_forward(
    api: Api, database: Database, conn: asyncpg.Connection
) -> None:
    await _ok(await api.client.delete(_PATH))
    operation = await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT))
    await gates.next_version(conn, {})
    newest = await conn.fetchval("SELECT max(version) FROM bf_control.tenant_statement")
    restored = await _ok(await api.client.post(f"{_PATH}/restore", headers=_WAIT))
    assert restored["schema_version"] == newest
    assert await conn.fetchval("SELECT to_regclass('bf_acme_corp.budgets') IS NOT NULL")
    assert operation["status"] == "succeeded"
    # A newer one than the database is refused, and leaves nothing.
    await _ok(await api.client.delete(_PATH))
    await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT))
    await conn.execute("DELETE FROM bf_control.tenant_statement WHERE version = $1", newest)
    failed = await _ok(await api.client.post(f"{_PATH}/restore", headers=_WAIT), 202)
    assert "upgrade it first" in failed["error"]["detail"]
    problem(await api.client.get(_PATH), 404)


@pytest.mark.usefixtures("tenant")
async def test_a_purge_that_is_cancelled_while_it_dumps_leaves_everything(
    idle_api: Api, settings: Settings, dsn: str, database: Database, tmp_path: Path
) -> None:
    before, gate = await rows.sums(database), tmp_path / "gate"
    script = f'touch {tmp_path}/begun; while [ ! -e {gate} ]; do sleep 0.1; done; exec "$REAL/pg_dump" "$@"'
    slow = await pg_dump_that(tmp_path / "bin", script, settings)
    other = settings_for(
        dsn,
        bootstrap_admin_key_file=settings.bootstrap_admin_key_file,
        backup_url=settings.backup_url,
        pg_bin=slow,
    )
    await _ok(await idle_api.client.delete(_PATH))

    async def begun() -> bool:
        return (tmp_path / "begun").exists()

    async with running_api(other, with_worker=True):
        operation = await _ok(await confirmed(idle_api.client, f"{_PATH}/purge"), 202)
        await until(begun, within=60)
        await _ok(await idle_api.client.post(f"/v1/operations/{operation['id']}/cancel"), 202)
        gate.touch()
        assert (await ended(idle_api.client, f"/v1/operations/{operation['id']}", within=60))["status"] == "cancelled"
    tenant = await _ok(await idle_api.client.get(_PATH))
    assert (tenant["state"], tenant["error"]["code"]) == ("deleted", "operation_cancelled")
    assert await rows.sums(database) == before
    assert (await _ok(await idle_api.client.get(f"{_PATH}/backups")))["items"] == []


@pytest.mark.usefixtures("tenant")
async def test_history_limits_and_counters_are_what_they_were(api: Api, conn: asyncpg.Connection) -> None:
    """A limit of the tenant's own that its tier would have otherwise; versions that others may name."""
    await _ok(await api.client.patch(_PATH, json={"subscription_tier": "premium"}))
    limits = {"max_budget_lines": 100000, "max_budgets": 500}
    await _ok(await api.client.patch(f"{_PATH}/limits", json=limits))
    paths = ("limits", "features", "usage", "config")
    before = {path: await _ok(await api.client.get(f"{_PATH}/{path}")) for path in paths}
    history = (await _ok(await api.client.get(f"{_PATH}/config/history")))["items"]
    await _ok(await api.client.delete(_PATH))
    await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT))
    await _ok(await api.client.post(f"{_PATH}/restore", headers=_WAIT))
    for path in paths:
        after = await _ok(await api.client.get(f"{_PATH}/{path}"))
        assert _timeless(after) == _timeless(before[path]), path
    assert {row["used"] for row in await conn.fetch(_COUNTERS)} == {0, 1, 20}
    kept = (await _ok(await api.client.get(f"{_PATH}/config/history")))["items"]
    assert [entry for entry in kept if entry in history] == history
    assert [entry["version"] for entry in kept] == list(range(len(kept), 0, -1))


@pytest.mark.usefixtures("tenant")
async def test_what_would_be_refused_today_comes_back_as_it_was(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """A limit that the catalogue has forgotten since, an integration of before integrations were checked."""
    await superuser.execute("UPDATE bf_control.usage_limit SET maximum = 10 WHERE name = 'max_budgets'")
    await conn.execute("ALTER TABLE bf_shared.tenant_config DISABLE TRIGGER USER")
    await conn.execute(
        """UPDATE bf_shared.tenant_config SET apg_integrations = '{"teleport": 1}',
                  usage_limits = '{"max_budgets": 500, "max_wishes": 3}', max_budget_lines = 100000"""
    )
    await conn.execute("ALTER TABLE bf_shared.tenant_config ENABLE TRIGGER USER")
    before = await conn.fetchval(_CONFIG)
    await _ok(await api.client.delete(_PATH))
    await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT))
    restored = await _ok(await api.client.post(f"{_PATH}/restore", headers=_WAIT))
    assert restored["state"] == "active", restored
    assert await conn.fetchval(_CONFIG) == before
    with pytest.raises(asyncpg.CheckViolationError, match="teleport"):
        await conn.execute("UPDATE bf_shared.tenant_config SET apg_integrations = '{\"teleport\": 2}'")


def _timeless(value: Any) -> Any:
    """Without when it was: an answer is of another moment."""
    if isinstance(value, dict):
        return {name: _timeless(held) for name, held in value.items() if not name.endswith("_at")}
    return [_timeless(held) for held in value] if isinstance(value, list) else value


async def test_a_failed_tenant_is_purged_without_a_backup(api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute("CREATE SCHEMA bf_acme_corp")
    assert (await _ok(await api.provision(), 202))["status"] == "failed"
    problem(await api.client.delete(_PATH), 409, "tenant_state_forbids")
    operation = await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT))
    assert operation["result"]["backup_id"] is None
    problem(await api.client.get(_PATH), 404)
    assert "bf_acme_corp" in await schemas(conn), "it is somebody else's"
    await conn.execute("DROP SCHEMA bf_acme_corp")
    assert (await _ok(await api.provision(), 201))["generation"] == 2
    await oracle.settled(conn)


@pytest.mark.usefixtures("tenant")
async def test_backups_are_listed_page_by_page(api: Api) -> None:
    made = [await _ok(await api.client.post(f"{_PATH}/backups", headers=_WAIT), 201) for _ in range(3)]
    first = await _ok(await api.client.get(f"{_PATH}/backups", params={"page_size": 2}))
    token = first["next_page_token"]
    second = await _ok(await api.client.get(f"{_PATH}/backups", params={"page_size": 2, "page_token": token}))
    assert [*first["items"], *second["items"]] == made[::-1]
    assert "next_page_token" not in second
    other = await api.client.get("/v1/tenants/other/backups", params={"page_token": token})
    problem(other, 400)


async def test_work_that_nobody_waits_for_is_not_left_running(tmp_path: Path) -> None:
    pieces = programs.output(["/bin/sh", "-c", f"echo $$ > {tmp_path}/pid; echo x; exec sleep 600"])
    assert await anext(pieces) == b"x\n"
    pid = int((tmp_path / "pid").read_text())
    await pieces.aclose()
    assert not Path(f"/proc/{pid}").exists()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("dsn", "expected"),
    [
        (
            "postgresql://u:p%40ss@h:5/d?sslmode=require",
            ("postgresql://u@h:5/d?sslmode=require", {"PGPASSWORD": "p@ss"}),
        ),
        ("postgres://u@h/d", ("postgresql://u@h/d", {})),
        ("postgresql+asyncpg://h/d?password=x%26y", ("postgresql://h/d", {"PGPASSWORD": "x&y"})),
        ("postgresql:///d?host=/run", ("postgresql:///d?host=%2Frun", {})),
    ],
)
def test_a_password_goes_into_the_environment(dsn: str, expected: tuple[str, dict[str, str]]) -> None:
    assert programs.connection(dsn) == expected


def test_a_url_with_a_password_is_refused(dsn: str) -> None:
    with pytest.raises(ValueError, match="must hold no password"):
        settings_for(dsn, backup_url="s3://key:secret@bucket/path")


async def test_what_was_never_there_is_404(idle_api: Api) -> None:
    for path in ("restore", "purge", "backups"):
        problem(await idle_api.client.post(f"{_PATH}/{path}"), 404, "tenant_not_found")
    problem(await idle_api.client.get(f"{_PATH}/backups"), 404, "tenant_not_found")
    unknown = {"backup_id": "00000000-0000-4000-8000-000000000000"}
    problem(await idle_api.client.post(f"{_PATH}/restore", json=unknown), 404, "backup_not_found")


@pytest.mark.usefixtures("tenant")
async def test_what_limits_count_is_counted_anew(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """The rows come before the triggers that count them."""
    counters = "SELECT limit_name, used FROM bf_control.usage_counter WHERE used > 0 ORDER BY 1"
    before = [tuple(row) for row in await conn.fetch(counters)]
    assert before == [("max_budget_lines", 20), ("max_budgets", 20), ("max_scenarios", 1)]
    await _ok(await api.client.patch(f"{_PATH}/limits", json={"max_budgets": 21}))
    await _ok(await api.client.delete(_PATH))
    await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT))
    assert await conn.fetch(counters) == []
    await _ok(await api.client.post(f"{_PATH}/restore", headers=_WAIT))
    assert [tuple(row) for row in await conn.fetch(counters)] == before
    insert = """INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
                VALUES ($1, 'New', 'annual', 2026, '2026-01-01', '2026-12-31')"""

    async def add(budget_id: str) -> None:
        async with superuser.transaction():
            await superuser.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'tests')")
            await superuser.execute(insert, budget_id)

    await add("new_1")
    with pytest.raises(asyncpg.PostgresError, match="max_budgets of tenant acme_corp is 21") as refused:
        await add("new_2")
    assert refused.value.sqlstate == "BF001"
