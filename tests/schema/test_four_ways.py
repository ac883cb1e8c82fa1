"""Python, the command line, Alembic and psql make the same database, to the catalogue row."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from app.schema import catalogue, files, script
from app.schema.script import Target
from tests.schema.support import ROOT, Site, copied_migrations
from tests.schema.test_settings_matrix import HOSTILE, MATRIX
from tests.support.api import running_api
from tests.support.cluster import Cluster, client_program
from tests.support.data import LATEST
from tests.support.processes import Finished, bf_admin, environment, run

TENANT = ("acme_corp", "ACME Corporation", "admin_user_123")
SCHEMAS = ("bf_shared", "bf_control", "bf_queue", "bf_acme_corp")

# What is as good as the catalogue, without what time and chance make of it.
ROWS = {
    "ledger": "SELECT layer, version, name, checksum, applied_by FROM bf_control.migration ORDER BY 1, 2",
    "settings": "SELECT name, value FROM bf_control.setting ORDER BY 1",
    "statements": "SELECT version, ordinal, section, statement FROM bf_control.tenant_statement ORDER BY 1, 2",
    "registry": """
        SELECT tenant_id::text, tenant_name, schema_name, state, schema_version, subscription_tier, generation,
               created_by, error
          FROM bf_control.tenant ORDER BY 1""",
    "configuration": """
        SELECT to_jsonb(c) - 'created_at' - 'updated_at' FROM bf_shared.tenant_config c ORDER BY tenant_id""",
    "documents": "SELECT tenant_id::text, document, version FROM bf_control.tenant_document ORDER BY 1, 2",
    "categories": "SELECT to_jsonb(c) FROM bf_shared.account_categories c ORDER BY category_id",
    "templates": """
        SELECT to_jsonb(t) - 'created_at' - 'updated_at' FROM bf_shared.budget_templates t ORDER BY template_id""",
    "rates": "SELECT to_jsonb(r) - 'created_at' FROM bf_shared.currency_rates r ORDER BY rate_id",
    "roles": """
        SELECT to_jsonb(r) - 'oid' - 'rolpassword', shobj_description(r.oid, 'pg_authid')
          FROM pg_authid r WHERE rolname IN ('app_role', 'audit_role', 'bf_migrator') ORDER BY rolname""",
    "memberships": """
        SELECT roleid::regrole::text, member::regrole::text, grantor::regrole::text,
               to_jsonb(m) - 'oid' - 'roleid' - 'member' - 'grantor'
          FROM pg_auth_members m WHERE roleid::regrole::text IN ('app_role', 'audit_role', 'bf_migrator')
         ORDER BY 1, 2, 3""",
}


@dataclass(frozen=True, slots=True)
class Snapshot:
    catalogues: dict[str, tuple[str, ...] | None]
    rows: dict[str, list[tuple[Any, ...]]]
    dump: str


async def snapshot(site: Site) -> Snapshot:
    catalogues = {}
    async with site.connect(site.cluster.superuser_dsn(site.name)) as conn:
        for schema in SCHEMAS:
            async with conn.transaction():
                catalogues[schema] = await catalogue.read(conn, schema)
        rows = {what: [tuple(row) for row in await conn.fetch(sql)] for what, sql in ROWS.items()}
    return Snapshot(catalogues, rows, await dump(site))


async def dump(site: Site) -> str:
    """Definitions with comments, owners and grants, but for Alembic's own table and grant."""
    command = (client_program("pg_dump"), "--schema-only", "--schema=bf_*")
    finished = await run(*map(str, command), site.cluster.superuser_dsn(site.name), env={})
    assert finished.code == 0, finished.stderr
    return "\n".join(line for line in finished.stdout.splitlines() if not line.startswith(("\\restrict", "\\unres")))


def assert_same(actual: Snapshot, reference: Snapshot) -> None:
    for schema in SCHEMAS:
        difference = catalogue.compare(
            expected=reference.catalogues[schema] or (), actual=actual.catalogues[schema] or ()
        )
        assert difference.ok, f"{schema}: {difference.summary()}"
    assert actual.rows == reference.rows
    assert actual.dump == reference.dump


async def psql(site: Site, *arguments: str, text: str = "", dsn: str | None = None) -> Finished:
    """As an operator runs it: no .psqlrc, the script on standard input."""
    process = await asyncio.create_subprocess_exec(
        *(str(client_program("psql")), "-X", "-d", dsn or site.dsn, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"LC_ALL": "C.UTF-8", "PGCLIENTENCODING": "UTF8"},
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(text.encode()), 60)
    return Finished(process.returncode or 0, stdout.decode(), stderr.decode())


def psql_script(target: Target | None = None) -> str:
    """What `bf-admin sql upgrade` prints."""
    return "\n".join(script.psql(files.migrations(), target or Target()))


SETUP = "SELECT bf_shared.setup_tenant('{}', '{}', '{}');".format(*TENANT)


async def with_python_and_rest(site: Site, directory: Path) -> None:
    await site.upgrade()
    async with running_api(site.settings(bootstrap_admin_key_file=directory / "key"), with_worker=True) as api:
        answer = await api.provision(TENANT[0], tenant_name=TENANT[1], created_by=TENANT[2])
        assert answer.status_code == 201, answer.text


async def with_the_guides_runner_and_bf_admin(site: Site, directory: Path) -> None:
    env = {**environment(site.dsn), "PYTHONPATH": str(ROOT)}
    runner = str(ROOT / "migrations" / "run_migration.py")
    upgraded = await run(sys.executable, runner, "--action", "upgrade", env=env, cwd=directory)
    assert upgraded.code == 0, upgraded.stderr
    assert upgraded.stdout == f"Applied {len(files.migrations())} migrations, upgraded 0 tenants.\n"
    options = ("--tenant-id", TENANT[0], "--tenant-name", TENANT[1], "--created-by", TENANT[2])
    created = await bf_admin("create-tenant", *options, env=env)
    assert created.code == 0, created.stderr


async def with_alembic(site: Site, _: Path) -> None:
    await site.execute("GRANT CREATE ON SCHEMA public TO bf_migrator")  # as the guide says
    command = ("-m", "alembic", "-c", "migrations/alembic.ini", "upgrade", "head")
    upgraded = await run(sys.executable, *command, env=environment(site.dsn), cwd=ROOT)
    assert upgraded.code == 0, upgraded.stderr
    await site.value("SELECT bf_shared.setup_tenant($1, $2, $3)", *TENANT)


async def with_psql(site: Site, _: Path) -> None:
    printed = await bf_admin("sql", "upgrade", env=environment(site.dsn))
    assert printed.code == 0, printed.stderr
    upgraded = await psql(site, text=printed.stdout)
    assert (upgraded.code, upgraded.stderr) == (0, "")
    created = await psql(site, "-c", SETUP)
    assert created.code == 0, created.stderr


async def with_psql_by_a_superuser(site: Site, _: Path) -> None:
    await psql(site, text=psql_script())
    created = await psql(site, "-c", SETUP, dsn=site.cluster.superuser_dsn(site.name))
    assert created.code == 0, created.stderr


async def with_psql_by_a_dba_who_was_granted_it(site: Site, _: Path) -> None:
    await psql(site, text=psql_script())
    function = "FUNCTION bf_shared.setup_tenant(text, text, text)"
    await site.execute(
        "CREATE ROLE dba LOGIN PASSWORD 'x'; GRANT USAGE ON SCHEMA bf_shared TO dba; "
        f"GRANT EXECUTE ON {function} TO dba"
    )
    created = await psql(site, "-c", SETUP, dsn=site.cluster.dsn(site.name, "dba", "x"))
    assert created.code == 0, created.stderr
    await site.execute(f"REVOKE ALL ON {function} FROM dba; REVOKE ALL ON SCHEMA bf_shared FROM dba")


WAYS: list[Callable[[Site, Path], Awaitable[None]]] = [
    with_the_guides_runner_and_bf_admin,
    with_alembic,
    with_psql,
    with_psql_by_a_superuser,
    with_psql_by_a_dba_who_was_granted_it,
]


@pytest.fixture(scope="module")
async def reference(bare_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    site = Site(bare_cluster, await bare_cluster.create_database())
    try:
        await with_python_and_rest(site, tmp_path_factory.mktemp("reference"))
        return await snapshot(site)
    finally:
        await site.clean_up()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_every_way_makes_what_the_service_makes(
    reference: Snapshot, site: Site, tmp_path: Path, way: Callable[[Site, Path], Awaitable[None]]
) -> None:
    await way(site, tmp_path)
    assert_same(await snapshot(site), reference)


def test_the_reference_is_not_empty(reference: Snapshot) -> None:
    """Else everything would be equal."""
    assert all(lines is not None and len(lines) > 20 for lines in reference.catalogues.values())
    assert {what for what, rows in reference.rows.items() if not rows} <= {"memberships"}
    assert "CREATE TABLE bf_acme_corp.budgets" in reference.dump


@pytest.mark.parametrize(
    "meddling",
    [
        "GRANT TRUNCATE ON bf_acme_corp.budgets TO app_role",
        "ALTER FUNCTION bf_shared.setup_tenant(text, text, text) SET search_path = public",
        "ALTER TABLE bf_acme_corp.budgets OWNER TO postgres",
        "COMMENT ON SCHEMA bf_shared IS 'another'",
        "ALTER ROLE audit_role LOGIN",
        "GRANT app_role TO audit_role",
        "UPDATE bf_shared.tenant_config SET max_budget_lines = 5",
    ],
)
async def test_a_difference_would_be_seen(reference: Snapshot, site: Site, meddling: str) -> None:
    await site.upgrade()
    await site.value("SELECT bf_shared.setup_tenant($1, $2, $3)", *TENANT)
    await site.execute(meddling)
    with pytest.raises(AssertionError):
        assert_same(await snapshot(site), reference)


# the script for psql ---------------------------------------------------------------------------------


async def test_the_script_run_again_is_a_no_op_and_prints_no_error(site: Site) -> None:
    first = await psql(site, text=psql_script())
    lines = [f"applying {migration.path}" for migration in files.migrations()]
    assert (first.code, first.stderr) == (0, "")
    assert first.stdout.splitlines() == [*lines, "The schema is up to date."]
    await site.setup("acme")
    before = await dump(site)
    await site.execute("""
        CREATE FUNCTION public.no_ddl() RETURNS event_trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'DDL was executed: %', tg_tag; END $$;
        CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION public.no_ddl();
    """)
    again = await psql(site, text=psql_script())
    assert (again.code, again.stdout, again.stderr) == (0, "The schema is up to date.\n", "")
    assert await dump(site) == before


async def test_psql_and_python_at_once_do_the_work_once(site: Site) -> None:
    finished, outcome = await asyncio.gather(psql(site, text=psql_script()), site.upgrade())
    assert (finished.code, finished.stderr) == (0, "")
    assert ("applying" in finished.stdout) != bool(outcome.applied)
    assert await site.value("SELECT count(*) FROM bf_control.migration") == len(files.migrations())


@pytest.mark.parametrize(
    "case", [case for case, target in MATRIX.items() if target.create_roles and target != Target()]
)
async def test_the_script_honours_the_settings_as_python_does(site: Site, case: str) -> None:
    target = MATRIX[case]
    finished = await psql(site, text=psql_script(target))
    assert (finished.code, finished.stderr) == (0, "")
    twin = await site.another()
    await site.upgrade(target, dsn=twin)
    for schema in (target.shared_schema, "bf_control", "bf_queue"):
        lines = []
        for dsn in (site.dsn, twin):
            async with site.connect(dsn) as conn, conn.transaction():
                lines.append(await catalogue.read(conn, schema))
        assert lines[0] == lines[1]
        assert lines[0]
    assert dict(await site.rows("SELECT name, value FROM bf_control.setting")) == target.settings()


@pytest.mark.parametrize("layer", script.LAYERS)
async def test_the_script_refuses_an_edited_file_by_name_and_stops(site: Site, tmp_path: Path, layer: str) -> None:
    await site.upgrade()
    root = copied_migrations(tmp_path)
    edited = max((root / layer).iterdir())
    edited.write_text(edited.read_text() + "\n-- only a comment\n")
    (root / "tenant" / f"{LATEST + 1:04}_more.sql").write_text("-- section: table\nCREATE TABLE more (id integer);")
    if layer == "tenant":
        (root / "tenant" / f"{LATEST + 1:04}_more.sql").unlink()
    finished = await psql(site, text="\n".join(script.psql(script.load(root), Target())))
    assert finished.code == 3
    assert f"migration {layer}/{edited.stem} was edited after it was applied" in finished.stderr
    assert "up to date" not in finished.stdout
    assert await site.value("SELECT count(*) FROM bf_control.migration") == len(files.migrations())


async def test_the_script_refuses_other_settings_and_other_owners(site: Site) -> None:
    await site.upgrade()
    finished = await psql(site, text=psql_script(HOSTILE))
    assert finished.code == 3
    assert 'BF_SCHEMA_NAME is My "Shared here, and bf_shared in the database' in finished.stderr
    finished = await psql(site, text=psql_script(), dsn=site.cluster.superuser_dsn(site.name))
    assert finished.code == 3
    assert "HINT:  Connect as bf_migrator, or SET ROLE bf_migrator first" in finished.stderr


async def test_the_script_brings_existing_tenants_along_one_transaction_each(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme", "beta", "zeta")
    await site.execute("ALTER TABLE bf_beta.budgets ADD COLUMN extra text")
    root = copied_migrations(tmp_path)
    (root / "tenant" / f"{LATEST + 1:04}_extra.sql").write_text(
        "-- section: table\nALTER TABLE budgets ADD COLUMN extra text;"
    )
    newer = "\n".join(script.psql(script.load(root), Target()))
    finished = await psql(site, text=newer)
    assert finished.code == 3
    assert 'column "extra" of relation "budgets" already exists' in finished.stderr
    versions = "SELECT array_agg(schema_version ORDER BY tenant_id) FROM bf_control.tenant"
    assert await site.value(versions) == [LATEST + 1, LATEST, LATEST]
    await site.execute("ALTER TABLE bf_beta.budgets DROP COLUMN extra")
    finished = await psql(site, text=newer)
    assert (finished.code, finished.stderr) == (0, "")
    assert await site.value(versions) == [LATEST + 1] * 3


async def test_setup_tenant_leaves_the_callers_search_path_alone(site: Site) -> None:
    await site.upgrade()
    async with site.connect() as conn:
        await conn.execute("CREATE SCHEMA mine; SET search_path = mine, public")
        await conn.execute(SETUP)
        assert await conn.fetchval("SHOW search_path") == "mine, public"
        with pytest.raises(asyncpg.UniqueViolationError):
            await conn.execute(SETUP)
        assert await conn.fetchval("SHOW search_path") == "mine, public"
