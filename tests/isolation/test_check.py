"""The check that every process makes at its start, and one of them hourly: each fault is named, with what mends it."""

import asyncio
import secrets
from pathlib import Path

import asyncpg
import pytest

from app.db.pool import Database
from app.db.pools import ddl_database
from app.isolation import service
from app.isolation.model import Report
from app.isolation.service import IsolationBroken
from app.schema.script import Target
from tests.isolation.conftest import ROLES
from tests.support.api import running_api
from tests.support.cluster import Cluster
from tests.support.data import make_tenant, settings_for
from tests.support.processes import bf_admin, environment

# What somebody does to acme, and what is then said.
_BREAKS = {
    "no RLS": ("ALTER TABLE bf_acme.budgets DISABLE ROW LEVEL SECURITY", "bf_acme.budgets has no row-level security"),
    "no FORCE": ("ALTER TABLE bf_acme.scenarios NO FORCE ROW LEVEL SECURITY", "bf_acme.scenarios does not force"),
    "no policy": ("DROP POLICY tenant_isolation_forecasts ON bf_acme.forecasts", "bf_acme.forecasts has no policy"),
    "a policy that says less": (
        "ALTER POLICY tenant_isolation_budgets ON bf_acme.budgets USING (true)",
        "bf_acme.budgets has no policy",
    ),
    "a policy for somebody else": (
        "ALTER POLICY tenant_isolation_budgets ON bf_acme.budgets TO audit_role",
        "bf_acme.budgets has no policy",
    ),
    "one policy more": ("CREATE POLICY p ON bf_acme.budgets USING (true)", "policy p on bf_acme.budgets lets more"),
    "the audit's for everyone": (
        "ALTER POLICY audit_access_budgets ON bf_acme.budgets TO PUBLIC",
        "policy audit_access_budgets on bf_acme.budgets lets more",
    ),
    "a table without policies": (
        "CREATE TABLE bf_acme.notes (t text); GRANT SELECT ON bf_acme.notes TO app_role",
        "bf_acme.notes has no row-level security",
    ),
    "a column of a table": (
        "CREATE TABLE bf_acme.notes (t text); GRANT SELECT (t) ON bf_acme.notes TO PUBLIC",
        "bf_acme.notes has no row-level security",
    ),
    "a view": (
        "CREATE VIEW bf_acme.v AS SELECT * FROM bf_acme.budgets; GRANT SELECT ON bf_acme.v TO app_role",
        "bf_acme.v is no table",
    ),
    "TRUNCATE": ("GRANT TRUNCATE ON bf_acme.budgets TO app_role", "app_role may TRUNCATE"),
    "REFERENCES for all": ("GRANT REFERENCES ON bf_acme.budgets TO PUBLIC", "app_role may TRUNCATE"),
    "an open schema": ("GRANT USAGE ON SCHEMA bf_acme TO PUBLIC", "schema bf_acme is open to PUBLIC"),
    "a schema to build in": ("GRANT CREATE ON SCHEMA bf_acme TO app_role", "app_role may make tables"),
    "the shared table": ("ALTER TABLE bf_shared.tenant_config DISABLE ROW LEVEL SECURITY", "bf_shared.tenant_config"),
    "a shared policy": ("CREATE POLICY p ON bf_shared.budget_templates USING (true)", "policy p on bf_shared"),
    "an owner": (
        "CREATE SCHEMA theirs; CREATE TABLE theirs.t (); ALTER TABLE theirs.t OWNER TO app_role",
        "app_role owns table theirs.t",
    ),
}


async def _found(database: Database, target: Target | None = None) -> Report:
    return await service.check(database, target or Target())


async def test_nothing_is_wrong_with_what_the_service_makes(database: Database, conn: asyncpg.Connection) -> None:
    for tenant_id in ("acme", "globex"):
        await make_tenant(conn, tenant_id)
    await conn.execute("SELECT bf_shared.suspend_tenant('globex')")
    report = await _found(database)
    assert (report.faults, report.fault_count, report.tenants, report.safe) == ((), 0, 2, True)
    assert report.checked_at is not None


@pytest.mark.parametrize("case", _BREAKS)
async def test_a_fault_is_named_refuses_the_start_and_its_mend_mends_it(two: str, cluster: Cluster, case: str) -> None:
    superuser = await cluster.superuser(two.rpartition("/")[2])
    async with ddl_database(settings_for(two), application_name="test") as database:
        await _named_and_mended(database, superuser, case)
    await superuser.close()


async def _named_and_mended(database: Database, superuser: asyncpg.Connection, case: str) -> None:
    statement, told = _BREAKS[case]
    await superuser.execute(statement)
    report = await _found(database)
    assert not report.safe
    assert any(fault.reason.startswith(told) for fault in report.faults), report.faults
    with pytest.raises(IsolationBroken, match="Tenants are not held apart"):
        await service.require(database, Target(), allow_unsafe=False)
    await service.require(database, Target(), allow_unsafe=True)
    for fault in report.faults:
        await superuser.execute(fault.mend)
    # What is a table too many has no policies yet: nobody but the owner reaches it when the grant is gone.
    await superuser.execute(
        "DROP TABLE IF EXISTS bf_acme.notes; DROP VIEW IF EXISTS bf_acme.v; DROP SCHEMA IF EXISTS theirs CASCADE"
    )
    assert (await _found(database)).faults == ()
    await service.require(database, Target(), allow_unsafe=False)


@pytest.mark.parametrize(
    ("role", "told"),
    [
        ("app_role BYPASSRLS", "app_role has BYPASSRLS"),
        ("app_role SUPERUSER", "app_role is a superuser"),
        ("audit_role BYPASSRLS", "audit_role has BYPASSRLS"),
    ],
)
async def test_a_role_above_the_policies_refuses_the_start(
    database: Database, superuser: asyncpg.Connection, role: str, told: str
) -> None:
    """Asked at every start, whoever else has just looked."""
    await _found(database)
    name, what = role.split()
    await superuser.execute(f"ALTER ROLE {name} {what}")
    try:
        with pytest.raises(IsolationBroken, match=told):
            await service.require(database, Target(), allow_unsafe=False)
    finally:
        await superuser.execute(f"ALTER ROLE {name} NO{what}")
    await service.require(database, Target(), allow_unsafe=False)


@pytest.mark.parametrize("way", ["bf_migrator", "audit_role", "pg_execute_server_program"])
async def test_who_acts_as_the_application_and_may_become_more_refuses_the_start(
    database: Database, superuser: asyncpg.Connection, way: str
) -> None:
    login = f"login_{secrets.token_hex(4)}"
    await superuser.execute(f"CREATE ROLE {login} LOGIN NOINHERIT IN ROLE app_role, {way}")
    try:
        with pytest.raises(IsolationBroken, match=login):
            await service.require(database, Target(), allow_unsafe=False)
    finally:
        await superuser.execute(f"DROP ROLE {login}")


async def test_without_row_level_security_by_choice_its_absence_is_no_fault(
    database: Database, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme")
    await superuser.execute("ALTER TABLE bf_acme.budgets DISABLE ROW LEVEL SECURITY")
    assert (await _found(database, Target(enable_rls=False))).fault_count == 0


async def test_roles_of_tenants_that_are_missing_or_left_over_are_noticed_and_stop_nobody(
    database: Database, roles_dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme")
    await make_tenant(conn, "globex")
    globex = await conn.fetchval("SELECT bf_control.tenant_role('globex')")
    assert (await _found(database, ROLES)).faults == ()
    await superuser.execute(f"GRANT USAGE ON SCHEMA bf_acme TO {globex}")
    report = await _found(database, ROLES)
    assert [fault.reason for fault in report.faults] == [f"schema bf_acme is open to {globex}"]
    await superuser.execute(report.faults[0].mend)
    orphan = globex.replace("globex", "gone")
    await superuser.execute("SELECT bf_control.make_role($1, 'tenant gone of database x')", orphan)
    report = await _found(database, ROLES)
    assert [fault.reason for fault in report.faults] == [f"role {orphan} is of no tenant"]
    assert report.safe
    await service.require(database, ROLES, allow_unsafe=False)
    await superuser.execute(report.faults[0].mend)
    assert roles_dsn


async def test_of_many_at_once_one_makes_the_hourly_check(database: Database, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme")
    reports = await asyncio.gather(*(service.check_due(database, Target()) for _ in range(4)))
    assert len([report for report in reports if report is not None]) == 1
    assert await service.check_due(database, Target()) is None
    await conn.execute("UPDATE bf_control.isolation_check SET checked_at = now() - interval '61 minutes'")
    assert await service.check_due(database, Target()) is None, "whoever claimed it just now may still be at it"
    await conn.execute("UPDATE bf_control.isolation_check SET claimed_at = now() - interval '61 minutes'")
    assert await service.check_due(database, Target()) is not None


async def test_health_warns_and_the_api_tells_what_of(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection, tmp_path: Path
) -> None:
    await make_tenant(conn, "acme")
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "key")
    async with running_api(settings, with_worker=False) as api:
        answer = await api.client.get("/v1/isolation")
        assert (answer.json()["status"], answer.json()["tenants"]) == ("pass", 1)
        assert (await api.client.get("/readyz")).json()["checks"]["isolation"]["status"] == "pass"
        await superuser.execute("ALTER TABLE bf_acme.budgets NO FORCE ROW LEVEL SECURITY")
        await conn.execute("UPDATE bf_control.isolation_check SET checked_at = NULL, claimed_at = NULL")
        await service.check_due(api.database, Target())
        ready = await api.client.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "warn")
        fault = (await api.client.get("/v1/isolation")).json()["faults"][0]
        assert (fault["tenant_id"], fault["kind"]) == ("acme", "table")
        assert fault["mend"] == "ALTER TABLE bf_acme.budgets FORCE ROW LEVEL SECURITY;"


async def test_a_process_does_not_start_and_says_why(
    dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn, "acme")
    await superuser.execute("ALTER TABLE bf_acme.budgets NO FORCE ROW LEVEL SECURITY")
    ended = await bf_admin("worker", env=environment(dsn))
    assert ended.code == 1
    assert "ALTER TABLE bf_acme.budgets FORCE ROW LEVEL SECURITY;" in ended.stderr
    assert "BF_ALLOW_UNSAFE=true" in ended.stderr
    checked = await bf_admin("isolation", "check", env=environment(dsn))
    assert (checked.code, "bf_acme.budgets does not force" in checked.stdout) == (1, True)
