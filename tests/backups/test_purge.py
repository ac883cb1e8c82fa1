"""Backup, purge, and what comes back: nothing goes that is not in a verified archive."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.apikeys.model import Role
from app.db.pool import Database
from app.settings import Settings
from app.tenants import purge
from tests.support import oracle, rows, tables
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, schemas, settings_for
from tests.support.plans import confirmed
from tests.support.problems import problem
from tests.support.programs import pg_dump_that

_PATH = "/v1/tenants/acme_corp"
_WAIT = {"Prefer": "wait=30"}
_TOMBSTONES = "SELECT tenant_id, generation, tenant_name, backup_id, purged_by, reason FROM bf_control.tenant_tombstone"
_CONFIG = "SELECT to_jsonb(c) - 'updated_at' FROM bf_shared.tenant_config c WHERE tenant_id = 'acme_corp'"
_OF_ACME = """
SELECT format('SELECT %L::text AS name, count(*) AS rows FROM bf_control.%I WHERE tenant_id = ''acme_corp''', t, t)
  FROM (SELECT table_name::text AS t FROM bf_control.tables_of_tenants()) AS s
"""


async def _ok(answer: Any, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def _backup(api: Api, **body: Any) -> dict[str, Any]:
    return await _ok(await api.client.post(f"{_PATH}/backups", json=body, headers=_WAIT), 201)


async def _delete(api: Api, **params: Any) -> None:
    await _ok(await api.client.delete(_PATH, params=params))


async def _purge(api: Api, **body: Any) -> dict[str, Any]:
    """The operation, ended."""
    await _delete(api)
    return await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT, **body))


@pytest.mark.usefixtures("tenant")
async def test_a_backup_holds_the_rows_and_is_verified(api: Api, database: Database, store: Path) -> None:
    made = await _backup(api, reason="before the merger")
    assert rows.of(made) == await rows.sums(database)
    assert {t["name"]: t["rows"] for t in made["tables"]}["budgets"] == 20
    file = Path(made["url"])
    assert (file.parent.parent, file.stat().st_size) == (store, made["bytes"])
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    manifest = json.loads(file.with_suffix(".json").read_text())
    assert (manifest["sha256"], manifest["reason"]) == (made["sha256"], "before the merger")
    assert manifest["records"]["tenant_config"]["tenant_id"] == "acme_corp"
    assert (await _ok(await api.client.get(f"{_PATH}/backups")))["items"] == [made]
    operation = await _ok(await api.client.get(f"/v1/operations/{made['id']}"))
    assert [step["name"] for step in operation["steps"]] == ["dump", "verify", "upload"]


@pytest.mark.usefixtures("tenant")
async def test_a_purge_backs_up_and_drops_everything_and_restore_brings_it_back(
    api: Api, settings: Settings, database: Database, conn: asyncpg.Connection
) -> None:
    await _ok(await api.client.patch(_PATH, json={"subscription_tier": "premium", "billing_contact": "a@b.example"}))
    before, config = await rows.sums(database), json.loads(await conn.fetchval(_CONFIG))
    read = await _ok(await api.client.get(_PATH))
    key = await api.key(Role.VIEWER, tenant_id="acme_corp")

    operation = await _purge(api, reason="they left")
    assert (operation["status"], operation["kind"]) == ("succeeded", "tenant.purge")
    assert operation["progress"] == {"done": 2, "total": 2}
    problem(await api.client.get(_PATH), 404, "tenant_not_found")
    assert "bf_acme_corp" not in await schemas(conn)
    backup_id = operation["result"]["backup_id"]
    tombstone = await conn.fetchrow(_TOMBSTONES)
    assert (*tombstone[:3], str(tombstone[3]), tombstone[5]) == (
        "acme_corp", 1, "ACME Corporation", backup_id, "they left",
    )  # fmt: skip
    for query in [row[0] for row in await conn.fetch(_OF_ACME)]:
        left = await conn.fetchrow(query)
        assert left["rows"] == 0, left["name"]
    templates = await conn.fetch("SELECT template_id, shared_with_tenants FROM bf_shared.budget_templates ORDER BY 1")
    assert [tuple(row) for row in templates if "acme" in row[0]] == [("of_acme_corp", ["another"])]
    gone = await api.client.get(_PATH, headers={"Authorization": f"Bearer {key}"})
    problem(gone, 401, "unauthenticated")
    listed = await _ok(await api.client.get(f"{_PATH}/backups"))
    assert [item["id"] for item in listed["items"]] == [backup_id]

    restored = await _ok(await api.client.post(f"{_PATH}/restore", json={"reason": "back"}, headers=_WAIT))
    assert await rows.sums(database) == before
    assert json.loads(await conn.fetchval(_CONFIG)) == config
    changed = {"updated_at", "last_operation", "state_reason", "state_changed_at", "state_changed_by"}
    assert {name for name in read if read[name] != restored[name]} == changed
    assert restored["state_reason"] == "back"
    templates = await conn.fetch("SELECT template_id, shared_with_tenants FROM bf_shared.budget_templates ORDER BY 1")
    assert [tuple(row) for row in templates if "acme" in row[0]] == [
        ("of_acme_corp", ["another", "acme_corp"]),
        ("own_acme_corp", []),
    ]
    history = await conn.fetch("SELECT before IS NULL AS first FROM bf_control.tenant_config_history ORDER BY id")
    assert history[0]["first"]
    assert len(history) >= 4
    await oracle.assert_clean(settings.direct_dsn())


@pytest.mark.usefixtures("tenant")
async def test_a_suspended_tenant_comes_back_suspended(api: Api, settings: Settings, conn: asyncpg.Connection) -> None:
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    await _purge(api)
    restored = await _ok(await api.client.post(f"{_PATH}/restore", headers=_WAIT))
    assert (restored["state"], restored["is_active"]) == ("suspended", False)
    assert not await conn.fetchval("SELECT has_schema_privilege('app_role', 'bf_acme_corp', 'USAGE')")
    await oracle.assert_clean(settings.direct_dsn())


@pytest.mark.usefixtures("tenant")
async def test_an_id_is_used_again_with_a_new_generation(api: Api, conn: asyncpg.Connection) -> None:
    operation = await _purge(api)
    made = await _ok(await api.provision(), 201)
    assert made["generation"] == 2
    body = {"backup_id": operation["result"]["backup_id"]}
    problem(await api.client.post(f"{_PATH}/restore", json=body), 409, "tenant_exists")
    await _purge(api, waive_backup=True)
    await make_tenant(conn)
    assert (await _ok(await api.client.get(_PATH)))["generation"] == 3
    await _purge(api)
    restored = await _ok(await api.client.post(f"{_PATH}/restore", json=body, headers=_WAIT))
    assert restored["generation"] == 1
    await _purge(api)
    assert (await _ok(await api.provision(), 201))["generation"] == 4


@pytest.mark.usefixtures("tenant")
async def test_a_waived_backup_leaves_none(api: Api, store: Path, conn: asyncpg.Connection) -> None:
    operation = await _purge(api, waive_backup=True)
    assert operation["result"] == {"tenant_id": "acme_corp", "generation": 1, "backup_id": None}
    assert not store.exists()
    problem(await api.client.post(f"{_PATH}/restore"), 404, "tenant_not_found")
    problem(await api.client.get(f"{_PATH}/backups"), 404, "tenant_not_found")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant_tombstone") == 1


@pytest.mark.usefixtures("tenant")
async def test_without_a_place_for_backups_it_is_503_before_anything_is_stored(
    dsn: str, tmp_path: Path, superuser: asyncpg.Connection
) -> None:
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key")
    async with running_api(settings, with_worker=False) as api:
        await _delete(api)
        before = await tables.counts(superuser)
        for path in ("backups", "purge"):
            for params in ({}, {"validate_only": "true"}):
                body = problem(await api.client.post(f"{_PATH}/{path}", params=params), 503, "backup_unavailable")
                assert "BF_BACKUP_URL" in body["detail"]
        assert await tables.counts(superuser) == before
        assert (await _ok(await api.client.get(_PATH)))["state"] == "deleted"


@pytest.mark.usefixtures("tenant")
async def test_an_audit_role_that_may_not_be_taken_is_503_with_the_grant(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await conn.execute("REVOKE audit_role FROM bf_migrator")
    try:
        body = problem(await idle_api.client.post(f"{_PATH}/backups"), 503, "backup_unavailable")
        assert "GRANT audit_role TO bf_migrator;" in body["detail"]
    finally:
        await conn.execute("GRANT audit_role TO bf_migrator")


async def _failed(api: Api, settings: Settings, dsn: str, **others: Any) -> dict[str, Any]:
    """The error of a purge whose worker has other settings; the tenant is deleted as before, and says why."""
    broken = settings_for(dsn, bootstrap_admin_key_file=settings.bootstrap_admin_key_file, **others)
    await _delete(api)
    async with running_api(broken, with_worker=True):
        operation = await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT), 202)
    assert operation["status"] == "failed"
    tenant = await _ok(await api.client.get(_PATH))
    assert (tenant["state"], tenant["error"]["code"]) == ("deleted", operation["error"]["code"])
    error: dict[str, Any] = operation["error"]
    return error


@pytest.mark.usefixtures("tenant")
async def test_a_place_that_cannot_be_written_fails_the_purge_and_names_the_mend(
    idle_api: Api, settings: Settings, dsn: str, tmp_path: Path, database: Database
) -> None:
    before = await rows.sums(database)
    (tmp_path / "file").touch()
    error = await _failed(idle_api, settings, dsn, backup_url=str(tmp_path / "file" / "below"))
    assert (error["code"], "BF_BACKUP_URL" in error["detail"]) == ("backup_failed", True)
    assert await rows.sums(database) == before
    tenant = await _ok(await idle_api.client.post(f"{_PATH}/restore"))
    assert (tenant["state"], tenant["error"]) == ("active", None)


@pytest.mark.usefixtures("tenant")
async def test_missing_programs_fail_the_purge_and_name_the_mend(
    idle_api: Api, settings: Settings, dsn: str, tmp_path: Path
) -> None:
    error = await _failed(idle_api, settings, dsn, backup_url=str(tmp_path), pg_bin=tmp_path)
    assert "BF_PG_BIN" in error["detail"]
    assert "apt-get install postgresql-client-" in error["detail"]


@pytest.mark.usefixtures("tenant")
async def test_an_archive_without_rows_is_no_backup(
    idle_api: Api, settings: Settings, dsn: str, store: Path, tmp_path: Path
) -> None:
    """As pg_dump writes it where row-level security shows it nothing: exit code 0, and not a row."""
    programs = await pg_dump_that(tmp_path / "bin", 'exec "$REAL/pg_dump" --schema-only "$@"', settings)
    error = await _failed(idle_api, settings, dsn, backup_url=str(store), pg_bin=programs)
    assert "budgets 0 of 20" in error["detail"]
    assert not store.exists()


@pytest.mark.usefixtures("tenant")
async def test_a_pg_dump_that_fails_says_why_without_sql(
    idle_api: Api, settings: Settings, dsn: str, store: Path, tmp_path: Path
) -> None:
    script = "echo 'pg_dump: error: disk is on fire' >&2; echo 'pg_dump: detail: SELECT secret' >&2; exit 1"
    programs = await pg_dump_that(tmp_path / "bin", script, settings)
    error = await _failed(idle_api, settings, dsn, backup_url=str(store), pg_bin=programs)
    assert error["detail"] == "pg_dump: error: disk is on fire"


@pytest.mark.usefixtures("tenant")
async def test_a_password_is_in_no_argument(
    idle_api: Api, settings: Settings, dsn: str, store: Path, tmp_path: Path, cluster: Any
) -> None:
    script = f'echo "$@" > {tmp_path}/arguments; exec "$REAL/pg_dump" "$@"'
    programs = await pg_dump_that(tmp_path / "bin", script, settings)
    other = settings_for(
        dsn, bootstrap_admin_key_file=settings.bootstrap_admin_key_file, backup_url=str(store), pg_bin=programs
    )
    async with running_api(other, with_worker=True):
        await _backup(idle_api)
    said = (tmp_path / "arguments").read_text()
    assert "--dbname=postgresql://" in said
    assert cluster.migration_password not in said


@pytest.mark.usefixtures("tenant")
async def test_an_altered_archive_is_not_restored(api: Api, settings: Settings, conn: asyncpg.Connection) -> None:
    operation = await _purge(api)
    url = await conn.fetchval("SELECT url FROM bf_control.backup")
    content = Path(url).read_bytes()
    for altered in (content[:-100], content + b"x", None):
        Path(url).unlink() if altered is None else Path(url).write_bytes(altered)
        failed = await _ok(await api.client.post(f"{_PATH}/restore", headers=_WAIT), 202)
        assert failed["status"] == "failed", failed
        problem(await api.client.get(_PATH), 404, "tenant_not_found")
        assert "bf_acme_corp" not in await schemas(conn)
    Path(url).write_bytes(content)
    retried = await api.client.post(f"/v1/operations/{failed['id']}/retry", headers=_WAIT)
    assert (await _ok(retried))["status"] == "succeeded"
    assert operation["status"] == "succeeded"
    await oracle.assert_clean(settings.direct_dsn())


@pytest.mark.usefixtures("tenant")
async def test_a_schema_in_the_way_is_409_and_stays(api: Api, conn: asyncpg.Connection) -> None:
    await _purge(api)
    await conn.execute("CREATE SCHEMA bf_acme_corp")
    problem(await api.client.post(f"{_PATH}/restore"), 409, "schema_exists")
    problem(await api.client.get(_PATH), 404, "tenant_not_found")
    assert "bf_acme_corp" in await schemas(conn)


@pytest.mark.usefixtures("tenant")
async def test_something_that_is_not_ours_stops_the_drop_and_nothing_is_lost(
    api: Api, database: Database, superuser: asyncpg.Connection
) -> None:
    before = await rows.sums(database)
    await superuser.execute("CREATE VIEW public.theirs AS SELECT count(*) FROM bf_acme_corp.budgets")
    await _delete(api)
    operation = await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT), 202)
    assert operation["status"] == "failed"
    assert "theirs" in operation["error"]["detail"]
    assert await rows.sums(database) == before
    await superuser.execute("DROP VIEW public.theirs")
    again = await _ok(await api.client.post(f"/v1/operations/{operation['id']}/retry", headers=_WAIT))
    assert again["status"] == "succeeded"


@pytest.mark.usefixtures("tenant")
async def test_what_is_due_is_purged_once_over_several_workers(
    idle_api: Api, settings: Settings, database: Database, conn: asyncpg.Connection
) -> None:
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp', 'left', grace => '0')")
    await make_tenant(conn, "later")
    await conn.execute("SELECT bf_shared.delete_tenant('later')")
    asked = await asyncio.gather(*(purge.purge_due(database) for _ in range(5)))
    assert sum(asked) == 1
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation WHERE kind = 'tenant.purge'") == 1
    assert (await _ok(await idle_api.client.get(_PATH)))["state"] == "purging"
    async with running_api(settings, with_worker=True):
        await oracle.settled(conn)
    problem(await idle_api.client.get(_PATH), 404)
    assert (await _ok(await idle_api.client.get("/v1/tenants/later")))["state"] == "deleted"
    row = await conn.fetchrow(_TOMBSTONES)
    assert (row["purged_by"], row["reason"]) == ("service:purge", "left")


@pytest.mark.usefixtures("tenant")
async def test_a_purge_that_failed_is_not_tried_again_for_an_hour(
    idle_api: Api, dsn: str, tmp_path: Path, settings: Settings, database: Database, conn: asyncpg.Connection
) -> None:
    await conn.execute("SELECT bf_shared.delete_tenant('acme_corp', grace => '0')")
    unconfigured = settings_for(dsn, bootstrap_admin_key_file=settings.bootstrap_admin_key_file)
    assert await purge.purge_due(database) == 1
    async with running_api(unconfigured, with_worker=True):
        await oracle.settled(conn)
        assert await purge.purge_due(database) == 0
    tenant = await _ok(await idle_api.client.get(_PATH))
    assert (tenant["state"], tenant["error"]["code"]) == ("deleted", "backup_failed")
    assert "BF_BACKUP_URL" in tenant["error"]["detail"]
    await conn.execute("UPDATE bf_control.operation SET created_at = created_at - $1::interval", timedelta(hours=1))
    assert await purge.purge_due(database) == 1


@pytest.mark.usefixtures("tenant")
async def test_a_queued_purge_that_is_cancelled_leaves_the_tenant_deleted(idle_api: Api) -> None:
    await _delete(idle_api)
    operation = await _ok(await confirmed(idle_api.client, f"{_PATH}/purge"), 202)
    assert (await _ok(await idle_api.client.get(_PATH)))["state"] == "purging"
    problem(await idle_api.client.post(f"{_PATH}/restore"), 409, "tenant_state_forbids")
    await _ok(await idle_api.client.post(f"/v1/operations/{operation['id']}/cancel"))
    tenant = await _ok(await idle_api.client.get(_PATH))
    assert (tenant["state"], tenant["error"]["code"]) == ("deleted", "operation_cancelled")
    assert (await _ok(await idle_api.client.post(f"{_PATH}/restore")))["state"] == "active"


@pytest.mark.usefixtures("tenant")
async def test_a_queued_restore_reserves_the_id_and_a_cancelled_one_frees_it(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    await _purge(api)
    api.services.release()
    await asyncio.sleep(0.5)
    operation = await _ok(await api.client.post(f"{_PATH}/restore"), 202)
    assert (await _ok(await api.client.get(_PATH)))["state"] == "provisioning"
    problem(await api.client.post(f"{_PATH}/restore"), 409, "tenant_state_forbids")
    problem(await api.provision(), 409, "tenant_being_provisioned")
    await _ok(await api.client.post(f"/v1/operations/{operation['id']}/cancel"))
    problem(await api.client.get(_PATH), 404)
    again = await _ok(await api.client.post(f"/v1/operations/{operation['id']}/retry"), 202)
    async with running_api(settings, with_worker=True):
        await oracle.settled(conn)
    assert (await _ok(await api.client.get(again["id"] and _PATH)))["state"] == "active"


@pytest.mark.usefixtures("tenant")
async def test_a_dry_run_of_each_leaves_nothing(api: Api, superuser: asyncpg.Connection) -> None:
    before = await tables.counts(superuser)
    dry = {"validate_only": "true"}
    assert (await _ok(await api.client.post(f"{_PATH}/backups", params=dry)))["status"] == "queued"
    assert await tables.counts(superuser) == before
    await _delete(api)
    before = await tables.counts(superuser)
    would_be = await _ok(await api.client.post(f"{_PATH}/purge", params=dry))
    assert (would_be["tenant_id"], would_be["confirmation"]) == ("acme_corp", None)
    assert await tables.counts(superuser) == before
    await _ok(await confirmed(api.client, f"{_PATH}/purge", headers=_WAIT))
    await oracle.settled(superuser)
    before = await tables.counts(superuser)
    assert (await _ok(await api.client.post(f"{_PATH}/restore", params=dry)))["state"] == "provisioning"
    assert await tables.counts(superuser) == before
    problem(await api.client.get(_PATH), 404)
