"""BF_TENANT_ROLES: whoever works as acme's role reaches acme and nobody else, whatever the context says."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.db.pool import Database
from app.db.pools import ddl_database
from app.errors import AppError
from app.schema import downgrade, files, startup
from app.schema.expected import ExpectedTenants
from app.schema.script import MigrationFileError, Target
from tests.isolation.conftest import ROLES, use
from tests.support import rows
from tests.support.api import running_api
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for, suspend
from tests.support.plans import confirmed

_WAIT = {"Prefer": "wait=30"}
# Every schema that the role may enter, and every table of a tenant that it may read.
_REACH = """
SELECT array_agg(n.nspname::text ORDER BY n.nspname) FROM pg_namespace n
 WHERE n.nspname LIKE 'bf\\_%' AND has_schema_privilege($1::text, n.oid, 'USAGE')
"""
_TABLES = """
SELECT array_agg(DISTINCT n.nspname::text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname LIKE 'bf\\_%' AND n.nspname <> 'bf_shared' AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
   AND has_table_privilege($1::text, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
"""
_ROLES = """
SELECT array_agg(r.rolname::text)
  FROM pg_database d JOIN pg_roles r ON r.rolname ~ concat('^bf_tenants?_.*', d.oid, '$')
 WHERE d.datname = current_database()
"""
_BUDGET = """
INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
VALUES ($1, 'b', 'annual', 2025, '2025-01-01', '2025-12-31')
"""


async def _role(conn: asyncpg.Connection, tenant_id: str) -> str:
    return str(await conn.fetchval("SELECT bf_control.tenant_role($1)", tenant_id))


async def _same(dsn: str, *tenant_ids: str) -> None:
    """The catalogue of each is the expected one."""
    async with ddl_database(settings_for(dsn), application_name="test") as database:
        expected = ExpectedTenants(database, files.migrations())
        for tenant_id in tenant_ids:
            async with database.connection() as conn:
                version = await conn.fetchval("SELECT max(version) FROM bf_control.tenant_statement")
            await expected.prepare(version)
            async with database.transaction() as conn:
                difference = await expected.difference(
                    conn, tenant_id=tenant_id, schema_name=f"bf_{tenant_id}", version=version
                )
            assert difference.ok, f"{tenant_id}: {difference.summary()}"


@asynccontextmanager
async def _login(cluster: Cluster, superuser: asyncpg.Connection, dsn: str, role: str) -> AsyncIterator[Any]:
    """Connected as an application that is a member of the role, and of nothing else."""
    name, password = f"login_{secrets.token_hex(4)}", secrets.token_hex(8)
    await superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {role}")
    user = await asyncpg.connect(cluster.dsn(dsn.rpartition("/")[2], name, password))
    try:
        yield user
    finally:
        await user.close()
        await superuser.execute(f"DROP ROLE {name}")


async def test_an_application_with_acmes_role_reaches_acme_alone(
    roles_dsn: str, cluster: Cluster, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for tenant_id in ("acme", "globex"):
        await make_tenant(conn, tenant_id)
        await rows.fill(superuser, tenant_id)
    acme = await _role(conn, "acme")
    assert await conn.fetchval(_REACH, acme) == ["bf_acme", "bf_shared"]
    assert await conn.fetchval(_TABLES, acme) == ["bf_acme"]
    await _same(roles_dsn, "acme", "globex")
    async with _login(cluster, superuser, roles_dsn, acme) as user:
        async with user.transaction():
            await user.execute("SELECT bf_shared.set_tenant_context('acme', 'u1')")
            await user.execute(_BUDGET, "mine")
            assert await user.fetchval("SELECT count(*) FROM budgets") == 21
            assert [row[0] for row in await user.fetch("SELECT tenant_id FROM tenant_config")] == ["acme"]
            templates = {row[0] for row in await user.fetch("SELECT template_id FROM budget_templates")}
            assert templates == {"template_system_001", "own_acme", "of_acme"}
            assert await user.fetchval("SELECT count(*) FROM account_categories") == 9
            assert await user.execute("UPDATE budget_templates SET is_deleted = true") == "UPDATE 1"
        assert await user.fetchval("SELECT count(*) FROM bf_acme.budgets") == 0, "the context is needed as ever"
        await _cannot_become_globex(user, await _role(conn, "globex"))


async def _cannot_become_globex(user: asyncpg.Connection, globex: str) -> None:
    async with user.transaction():
        await user.execute("SELECT set_config('app.current_tenant', 'globex', true)")
        assert await user.fetch("SELECT 1 FROM bf_shared.tenant_config") == []
        assert await user.fetch("SELECT 1 FROM bf_shared.budget_templates WHERE NOT is_public") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="schema bf_globex"):
            async with user.transaction():
                await user.fetch("SELECT * FROM bf_globex.budgets")
    async with user.transaction():
        await user.execute("SELECT bf_shared.set_tenant_context('globex', 'u1')")
        with pytest.raises(asyncpg.UndefinedTableError):
            await user.fetch("SELECT * FROM budgets")
    for role in ("app_role", "audit_role", "bf_migrator", globex):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await user.execute(f"SET ROLE {role}")


async def test_the_application_role_sees_what_it_saw(
    roles_dsn: str, cluster: Cluster, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme")
    await rows.fill(superuser, "acme")
    async with _login(cluster, superuser, roles_dsn, "app_role") as user, user.transaction():
        await user.execute("SELECT bf_shared.set_tenant_context('acme', 'u1')")
        assert await user.fetchval("SELECT count(*) FROM budgets") == 20
        assert await user.fetchval("SELECT count(*) FROM tenant_config") == 1
        assert await user.fetchval("SELECT count(*) FROM budget_templates") == 3


async def test_switched_on_and_off_every_tenant_follows_in_whatever_state(
    roles_dsn: str, conn: asyncpg.Connection
) -> None:
    await use(roles_dsn, Target())
    assert await conn.fetchval(_ROLES) is None
    await make_tenant(conn, "acme")
    await make_tenant(conn, "globex")
    await suspend(conn, "globex")
    await _same(roles_dsn, "acme", "globex")
    for _ in range(2):
        outcome = await use(roles_dsn, ROLES)
        assert (outcome.applied, outcome.upgraded, outcome.failed) == ([], [], {})
        await _same(roles_dsn, "acme", "globex")
        assert await conn.fetchval(_REACH, await _role(conn, "globex")) == ["bf_shared"]
        assert await conn.fetchval(_REACH, "app_role") == ["bf_acme", "bf_shared"]
    assert (await use(roles_dsn, Target())).failed == {}
    assert await conn.fetchval(_ROLES) is None
    await _same(roles_dsn, "acme", "globex")


async def test_what_somebody_lets_a_tenants_role_own_is_not_dropped_with_it(
    roles_dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for tenant_id in ("acme", "globex"):
        await make_tenant(conn, tenant_id)
    role = await _role(conn, "acme")
    await superuser.execute(f"CREATE SCHEMA theirs; CREATE TABLE theirs.t (); ALTER TABLE theirs.t OWNER TO {role}")
    outcome = await use(roles_dsn, Target())
    assert list(outcome.failed) == ["acme"]
    assert "owns something" in outcome.failed["acme"]
    assert await superuser.fetchval("SELECT to_regclass('theirs.t') IS NOT NULL")
    assert await conn.fetchval(_ROLES) == [role]
    await superuser.execute("DROP TABLE theirs.t")
    assert (await use(roles_dsn, Target())).failed == {}
    assert await conn.fetchval(_ROLES) is None


async def test_the_way_in_follows_the_state(roles_dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme")
    role = await _role(conn, "acme")
    for step, reach in (
        ("suspend_tenant", ["bf_shared"]),
        ("resume_tenant", ["bf_acme", "bf_shared"]),
        ("delete_tenant", ["bf_shared"]),
        ("restore_tenant", ["bf_acme", "bf_shared"]),
    ):
        await conn.execute(await conn.fetchval("SELECT format('SELECT bf_shared.%I(''acme'')', $1::text)", step))
        assert await conn.fetchval(_REACH, role) == reach, step
        await _same(roles_dsn, "acme")


async def test_by_rest_too_a_purge_takes_the_role_and_a_restore_brings_it_back(
    roles_dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    settings = settings_for(
        roles_dsn, bootstrap_admin_key_file=tmp_path / "key", backup_url=str(tmp_path / "kept"), tenant_roles=True
    )
    async with running_api(settings, with_worker=True) as api:
        assert (await api.provision("acme")).status_code == 201
        await rows.fill(superuser, "acme")
        role = await _role(conn, "acme")
        assert (await api.client.delete("/v1/tenants/acme")).status_code == 200
        purged = await confirmed(api.client, "/v1/tenants/acme/purge", headers=_WAIT)
        assert purged.json()["status"] == "succeeded", purged.text
        assert role not in (await conn.fetchval(_ROLES))
        restored = await api.client.post("/v1/tenants/acme/restore", headers=_WAIT)
        assert restored.status_code == 200, restored.text
    await _same(roles_dsn, "acme")
    assert await conn.fetchval(_REACH, role) == ["bf_acme", "bf_shared"]
    assert await conn.fetchval(_TABLES, role) == ["bf_acme"]


async def test_a_role_of_that_name_that_somebody_else_made_is_given_nothing(
    roles_dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    role = await _role(conn, "acme")
    await superuser.execute(f"CREATE ROLE {role} LOGIN")
    with pytest.raises(asyncpg.DuplicateObjectError, match="not one that was made here"):
        await make_tenant(conn, "acme")
    assert await conn.fetchval("SELECT to_regnamespace('bf_acme') IS NULL")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0


async def test_no_two_tenants_share_a_name_and_none_is_cut(conn: asyncpg.Connection) -> None:
    ids = ["acme", "acme_1", "a1", "a" * 36, "a" * 35, "ab", "s_1", "s"]
    names = [await _role(conn, tenant_id) for tenant_id in ids]
    assert len(set(names)) == len(ids)
    assert all(len(name) <= 63 for name in names)
    number = await conn.fetchval("SELECT oid FROM pg_database WHERE datname = current_database()")
    assert names[1] == f"bf_tenant_acme_1_{number}"


async def test_a_downgrade_leaves_no_role(roles_dsn: str, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme")
    async with ddl_database(settings_for(roles_dsn), application_name="test") as database:
        outcome = await downgrade.run(database, ROLES)
    assert await conn.fetchval(_ROLES) is None
    # Those that others need are the cluster's template database's.
    assert [role for role in outcome.roles_dropped if role.startswith("bf_tenants_")]


async def test_a_process_with_another_setting_refuses_and_says_what_changes_it(
    database: Database, roles_dsn: str
) -> None:
    with pytest.raises(AppError, match="BF_TENANT_ROLES is false here, and true in the database") as info:
        await startup.prepare(database, files.migrations(), Target())
    assert "bf-admin upgrade" in info.value.detail
    await startup.prepare(database, files.migrations(), ROLES)
    assert roles_dsn


def test_roles_that_may_not_be_made_are_not_asked_for() -> None:
    with pytest.raises(MigrationFileError, match="BF_CREATE_ROLES=false"):
        Target(tenant_roles=True, create_roles=False)
