"""Doctor on privileges, and on who gets around row-level security."""

import asyncpg
import pytest

from tests.doctor.support import check, examine, login, mended, without
from tests.support.cluster import Cluster
from tests.support.data import make_tenant
from tests.support.processes import environment


async def test_a_good_database_passes(installed: dict[str, str]) -> None:
    checks = await examine(installed)
    assert [name for name, finding in checks.items() if finding["status"] == "fail"] == []
    recommended = {"pg_stat_statements", "pg_monitor", "pg_dump"}
    assert {name for name, finding in checks.items() if finding["status"] != "pass"} <= recommended


async def test_create_on_the_database(admin: asyncpg.Connection, empty: dict[str, str]) -> None:
    name = await admin.fetchval("SELECT current_database()")
    await admin.execute(f'REVOKE CREATE ON DATABASE "{name}" FROM bf_migrator')
    finding = await mended("create_on_database", empty, "fail", admin)
    assert finding["mend"] == f"GRANT CREATE ON DATABASE {name} TO bf_migrator;"


async def test_create_on_public_is_only_told(admin: asyncpg.Connection, empty: dict[str, str]) -> None:
    await admin.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    finding = await check("create_on_public", empty, "pass")
    assert (finding["observed"], finding["mend"]) == ("not held", None)
    await admin.execute(finding["reason"].partition(": ")[2])
    assert (await check("create_on_public", empty, "pass"))["observed"] == "held"


async def test_createrole_for_roles_that_are_to_be_made(admin: asyncpg.Connection, cluster: Cluster) -> None:
    async with login(admin, cluster) as (_, dsn):
        env = environment(dsn, BF_APP_ROLE="doctor_app", BF_AUDIT_ROLE="doctor_audit")
        finding = await mended("createrole", env, "fail", admin)
        assert "doctor_app and doctor_audit to be made" in finding["observed"]


async def test_roles_that_are_to_be_there(admin: asyncpg.Connection, empty: dict[str, str]) -> None:
    env = {**empty, "BF_CREATE_ROLES": "false", "BF_APP_ROLE": 'doctor "app"', "BF_AUDIT_ROLE": "doctor_audit"}
    try:
        finding = await mended("createrole", env, "fail", admin)
        assert finding["mend"].splitlines() == [
            'CREATE ROLE "doctor ""app""" NOLOGIN;',
            "CREATE ROLE doctor_audit NOLOGIN;",
        ]
    finally:
        await admin.execute('DROP ROLE IF EXISTS "doctor ""app""", doctor_audit')


async def test_an_audit_role_that_cannot_be_granted(admin: asyncpg.Connection, cluster: Cluster) -> None:
    """On every version where the role may make none; from 16 on also where it may, and did not make this one."""
    await admin.execute("CREATE ROLE doctor_audit")
    try:
        strict = await admin.fetchval("SELECT current_setting('server_version_num')::integer") >= 160000
        for attributes, refused in (("", True), ("CREATEROLE", strict)):
            async with login(admin, cluster, attributes) as (_, dsn):
                env = environment(dsn, BF_AUDIT_ROLE="doctor_audit")
                if refused:
                    await mended("audit_role", env, "warn", admin)
                else:
                    await check("audit_role", env, "pass")
    finally:
        await admin.execute("DROP ROLE doctor_audit")


async def test_pg_monitor(admin: asyncpg.Connection, cluster: Cluster) -> None:
    async with login(admin, cluster) as (name, dsn):
        finding = await mended("pg_monitor", environment(dsn), "warn", admin)
        assert finding["mend"] == f"GRANT pg_monitor TO {name};"


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
async def test_a_connected_role_above_row_level_security(
    admin: asyncpg.Connection, cluster: Cluster, attribute: str
) -> None:
    async with login(admin, cluster, attribute) as (_, dsn):
        await mended("connected_role", environment(dsn), "warn", admin)


async def test_the_bootstrap_superuser_is_told_to_make_another_role(cluster: Cluster, empty_dsn: str) -> None:
    dsn = cluster.superuser_dsn(empty_dsn.rpartition("/")[2])
    finding = await check("connected_role", environment(dsn), "warn")
    assert finding["mend"].startswith("CREATE ROLE bf_migrator LOGIN CREATEROLE;")


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
@pytest.mark.parametrize("role", ["app_role", "audit_role"])
async def test_a_member_that_bypasses_row_level_security(
    superuser: asyncpg.Connection, cluster: Cluster, installed: dict[str, str], role: str, attribute: str
) -> None:
    async with login(superuser, cluster, attribute) as (name, _):
        await superuser.execute(f"GRANT {role} TO {name}")
        finding = await mended("rls_bypass", installed, "fail", superuser)
        assert name in finding["reason"]


async def test_a_role_that_bypasses_row_level_security_itself(admin: asyncpg.Connection, empty: dict[str, str]) -> None:
    await admin.execute("CREATE ROLE doctor_app BYPASSRLS SUPERUSER")
    try:
        finding = await mended("rls_bypass", {**empty, "BF_APP_ROLE": "doctor_app"}, "fail", admin)
        assert finding["reason"] == "doctor_app is a superuser; doctor_app has BYPASSRLS"
    finally:
        await admin.execute("DROP ROLE doctor_app")


async def test_a_member_of_the_owner_by_way_of_a_group(
    superuser: asyncpg.Connection, cluster: Cluster, installed: dict[str, str]
) -> None:
    async with login(superuser, cluster) as (name, _), login(superuser, cluster) as (group, _):
        await superuser.execute(f"GRANT app_role, {group} TO {name}; GRANT bf_migrator TO {group}")
        finding = await mended("rls_bypass", installed, "fail", superuser)
        assert finding["mend"].startswith(f"REVOKE {group} FROM {name}")


async def test_an_application_that_is_an_auditor_too(
    superuser: asyncpg.Connection, cluster: Cluster, installed: dict[str, str]
) -> None:
    """Granted by the owner: from PostgreSQL 16 on only a grant's grantor takes it back."""
    owner = await asyncpg.connect(installed["DATABASE_URL"])
    async with login(superuser, cluster) as (name, _):
        await owner.execute(f"GRANT app_role, audit_role TO {name}")
        finding = await mended("rls_bypass", installed, "fail", superuser)
        assert f"{name} acts as the application and reads every tenant" in finding["reason"]
    await owner.close()


async def test_an_application_that_owns_a_tenants_table(
    superuser: asyncpg.Connection, conn: asyncpg.Connection, cluster: Cluster, installed: dict[str, str]
) -> None:
    schema = await make_tenant(conn)
    async with login(superuser, cluster) as (name, _):
        await superuser.execute(f"GRANT app_role TO {name}; ALTER TABLE {schema}.budgets OWNER TO {name}")
        finding = await mended("rls_bypass", installed, "fail", superuser)
        assert finding["mend"] == f"ALTER TABLE {schema}.budgets OWNER TO bf_migrator;"


async def test_a_plain_application_is_no_fault(
    superuser: asyncpg.Connection, cluster: Cluster, installed: dict[str, str]
) -> None:
    async with login(superuser, cluster) as (name, _), login(superuser, cluster) as (auditor, _):
        await superuser.execute(f"GRANT app_role TO {name}; GRANT audit_role TO {auditor}")
        await check("rls_bypass", installed, "pass")


async def test_somebody_else_than_the_owner(
    superuser: asyncpg.Connection, cluster: Cluster, installed: dict[str, str]
) -> None:
    async with login(superuser, cluster) as (_, dsn):
        checks = await examine(environment(dsn))
        assert {checks[name]["status"] for name in ("schema", "settings", "tenants")} == {"not_checked"}
        await mended("owner", environment(dsn), "fail", superuser)
        await check("schema", environment(dsn), "pass")


async def test_an_owner_that_is_a_superuser_is_not_granted(
    superuser: asyncpg.Connection, cluster: Cluster, installed: dict[str, str]
) -> None:
    await superuser.execute("ALTER SCHEMA bf_control OWNER TO postgres")
    finding = await check("owner", installed, "fail")
    assert "GRANT" not in finding["mend"]
    assert "//postgres:PASSWORD@127.0.0.1:" in finding["mend"]


async def test_no_name_is_needed_in_the_url_but_told(installed: dict[str, str]) -> None:
    """PGUSER and PGPASSWORD are libpq's, and asyncpg's."""
    url = installed["DATABASE_URL"]
    credentials, _, place = url.partition("://")[2].partition("@")
    user, _, password = credentials.partition(":")
    env = {**without(installed, "DATABASE_URL"), "PGUSER": user, "PGPASSWORD": password}
    env["DATABASE_URL"] = f"postgresql://{place}"
    finding = await check("database_url", env, "warn")
    assert finding["mend"].startswith('export DATABASE_URL="postgresql://USER:PASSWORD@127.0.0.1')
    await check("database_url", {**env, "DATABASE_URL": url}, "pass")
