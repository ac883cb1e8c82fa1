"""Doctor on what is installed, on extensions and on programs."""

import asyncpg
import pytest

from app.doctor.model import Status
from app.doctor.server import judge_version
from app.doctor.tools import installing
from tests.doctor.support import bf_admin, check, examine, mended, shell
from tests.support.cluster import Cluster
from tests.support.data import LATEST, make_tenant
from tests.support.processes import run


async def test_an_empty_database_wants_the_upgrade(empty: dict[str, str]) -> None:
    finding = await check("schema", empty, "warn")
    assert (finding["observed"], finding["mend"]) == ("not installed", "bf-admin upgrade")
    await bf_admin(finding["mend"], empty)
    await check("schema", empty, "pass")


async def test_tenants_behind_want_the_upgrade(installed: dict[str, str], conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    # The version that the tenant is behind has nothing to do but its grants.
    await conn.execute("DELETE FROM bf_control.tenant_statement WHERE section <> 'grant'")
    await conn.execute("UPDATE bf_control.tenant_statement SET version = $1", LATEST)
    finding = await check("schema", installed, "warn")
    assert finding["observed"] == "0 migrations pending, 1 tenants behind"
    await bf_admin(finding["mend"], installed)
    await check("schema", installed, "pass")


async def test_pending_migrations_want_the_upgrade(empty: dict[str, str], admin: asyncpg.Connection) -> None:
    """A process of the service makes its own two schemas; the rest waits for the upgrade."""
    await bf_admin("bf-admin api-key create --name first --role viewer", empty)
    assert await admin.fetchval("SELECT to_regclass('bf_control.migration') IS NOT NULL")
    await bf_admin((await check("schema", empty, "warn"))["mend"], empty)
    await check("schema", empty, "pass")


async def test_a_database_of_a_newer_release(installed: dict[str, str], conn: asyncpg.Connection) -> None:
    await conn.execute(
        """INSERT INTO bf_control.migration (layer, version, name, checksum)
           VALUES ('tenant', 99, 'later', repeat('0', 64))"""
    )
    finding = await check("schema", installed, "fail")
    assert finding["mend"] == "install that release of this service"
    await conn.execute("DELETE FROM bf_control.migration WHERE version = 99")
    await check("schema", installed, "pass")


@pytest.mark.parametrize("name", ["bf_shared", "bf_control", "bf_queue"])
async def test_a_schema_of_somebody_elses_is_moved_away(
    admin: asyncpg.Connection, empty: dict[str, str], name: str
) -> None:
    await admin.execute(f"CREATE SCHEMA {name}")
    finding = await check("schema", empty, "fail")
    await admin.execute(finding["mend"])
    assert await admin.fetchval("SELECT to_regnamespace($1) IS NOT NULL", f"{name}_before")
    await bf_admin((await check("schema", empty, "warn"))["mend"], empty)


async def test_settings_that_differ_are_those_of_the_database(installed: dict[str, str]) -> None:
    wrong = {"BF_SCHEMA_NAME": "bf_other", "BF_APP_ROLE": "other", "BF_ENABLE_RLS": "false"}
    finding = await check("settings", {**installed, **wrong}, "fail")
    assert finding["mend"].splitlines() == [
        "export BF_SCHEMA_NAME=bf_shared", "export BF_APP_ROLE=app_role", "export BF_ENABLE_RLS=true",
    ]  # fmt: skip
    await check("settings", shell(finding["mend"], {**installed, **wrong}), "pass")


async def test_row_level_security_of_the_shared_schema(
    installed: dict[str, str], superuser: asyncpg.Connection
) -> None:
    await superuser.execute("ALTER TABLE bf_shared.tenant_config DISABLE ROW LEVEL SECURITY")
    await mended("row_security", installed, "fail", superuser)
    await check("row_security", {**installed, "BF_ENABLE_RLS": "false"}, "warn")


async def test_failed_tenants_are_made_again(installed: dict[str, str], conn: asyncpg.Connection) -> None:
    await conn.execute(
        """INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by, request)
           SELECT t.id, t.name, 'bf_' || t.id, 'failed', 't', jsonb_build_object('tenant_name', t.name)
             FROM (VALUES ('acme', $1::text), ('odd', $2::text)) AS t(id, name)""",
        "ACME",
        'O\'Neill & "Sons" $HOME',
    )
    finding = await check("tenants", installed, "warn")
    assert finding["observed"] == "2 failed"
    for line in finding["mend"].splitlines():
        await bf_admin(line, installed)
    await check("tenants", installed, "pass")
    await conn.execute(
        """INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by)
           SELECT 'many' || i, 'M', 'bf_many' || i, 'failed', 't' FROM generate_series(1, 30) AS i"""
    )
    finding = await check("tenants", installed, "warn")
    assert (finding["observed"], len(finding["mend"].splitlines())) == ("more than 10 failed", 10)


async def test_no_extension_is_needed(installed: dict[str, str], superuser: asyncpg.Connection) -> None:
    assert "uuid-ossp is not there, and not needed" in (await check("extensions", installed, "pass"))["observed"]
    if await superuser.fetchval("SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'uuid-ossp')"):
        await superuser.execute('CREATE EXTENSION "uuid-ossp"')
        assert "uuid-ossp is there, and not needed" in (await check("extensions", installed, "pass"))["observed"]


async def test_query_statistics_are_recommended(admin: asyncpg.Connection, empty: dict[str, str]) -> None:
    finding = await mended("pg_stat_statements", empty, "warn", admin)
    assert finding["mend"] == "CREATE EXTENSION pg_stat_statements;"


async def test_pg_dump(empty: dict[str, str], tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> None:
    """Where there is no apt that knows the version, the mend is the pg_dump of the embedded package."""
    nothing, old = tmp_path_factory.mktemp("nothing"), tmp_path_factory.mktemp("old")
    # An older release's, which no machine has only for this; all that is asked of it is its version.
    (old / "pg_dump").write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.22 (Debian 12.22-1.pgdg)'\n")
    (old / "pg_dump").chmod(0o755)
    major = (await examine(empty))["server_version"]["observed"].split()[1].partition(".")[0]
    without = {**empty, "PATH": str(nothing)}
    finding = await check("pg_dump", without, "warn")
    assert finding["observed"] == "not on PATH"
    path = shell(finding["mend"], empty)["PATH"].partition(":")[0]
    await check("pg_dump", {**without, "PATH": path}, "pass")
    install = f"apt-get install postgresql-client-{major}"
    known = (await run("apt-cache", "show", install.split()[-1], env=empty)).code == 0
    finding = await check("pg_dump", {**empty, "PATH": f"{old}:{empty['PATH']}"}, "warn")
    assert (finding["mend"] == install) == known
    assert (path in finding["mend"]) != known
    await check("pg_dump", {**empty, "PATH": f"{path}:{old}:{empty['PATH']}"}, "pass")


async def test_a_pg_dump_that_neither_apt_nor_the_package_has_is_of_the_pgdg() -> None:
    *repository, install = await installing(99)
    assert repository[-1].startswith("/usr/share/postgresql-common/pgdg/apt.postgresql.org.sh")
    assert install == "apt-get install postgresql-client-99"


def test_a_server_before_13_is_too_old() -> None:
    """The rule alone: there is no such server to be had here."""
    finding = judge_version(120022, "12.22")
    assert (finding.status, finding.mend) == (Status.FAIL, ("pg_upgradecluster 12 main",))
    assert judge_version(130000, "13.0").status is Status.PASS
