"""bf-admin upgrade: the ledger, what it refuses, several at once, and tenants that are there already."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from app.db.pool import Connection, Database
from app.db.pools import ddl_database
from app.errors import DatabaseError, PrivilegeMissing, Transient
from app.schema import files, queries, script, service, upgrade
from app.schema.expected import ExpectedTenants
from app.schema.script import LAYERS, Target
from tests.schema.support import Site, Watched, copied_migrations
from tests.support.data import LATEST, settings_for

LEDGER = "SELECT layer, version, name, checksum FROM bf_control.migration ORDER BY layer, version"
VERSIONS = "SELECT tenant_id::text, state, schema_version FROM bf_control.tenant ORDER BY tenant_id"
# Rows that an upgrade writes, with what changes whenever one of them is written again.
WRITTEN = """
SELECT 'migration', xmin::text, to_jsonb(m)::text FROM bf_control.migration m
UNION ALL SELECT 'setting', xmin::text, to_jsonb(s)::text FROM bf_control.setting s
UNION ALL SELECT 'statement', xmin::text, version || '/' || ordinal FROM bf_control.tenant_statement
UNION ALL SELECT 'tenant', xmin::text, to_jsonb(t)::text FROM bf_control.tenant t
UNION ALL SELECT 'role', xmin::text, rolname FROM pg_authid
UNION ALL SELECT 'member', xmin::text, roleid || ' ' || member FROM pg_auth_members
ORDER BY 1, 2, 3
"""
NO_DDL = """
CREATE FUNCTION public.no_ddl() RETURNS event_trigger LANGUAGE plpgsql
AS $$ BEGIN RAISE EXCEPTION 'DDL was executed: %', tg_tag; END $$;
CREATE EVENT TRIGGER no_ddl ON ddl_command_start EXECUTE FUNCTION public.no_ddl();
"""
EXTRA = "-- section: table\nALTER TABLE budgets ADD COLUMN extra text;"
# What the transaction that runs it looks like from inside: a row in a table that a migration makes.
PROBE = """
CREATE TABLE {}probe AS SELECT current_setting('lock_timeout') AS lock_timeout, pg_current_xact_id()::text AS xact,
    (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()) AS advisory;
"""


def migrations_with(directory: Path, **files_by_layer: str) -> tuple[script.Migration, ...]:
    """This release's, and one more file for each layer that is named."""
    root = copied_migrations(directory)
    for layer, text in files_by_layer.items():
        number = len(list((root / layer).iterdir())) + 1
        (root / layer / f"{number:04}_added.sql").write_text(text)
    return script.load(root)


async def test_an_empty_database_gets_every_file_and_a_ledger_with_checksums(site: Site) -> None:
    outcome = await site.upgrade()
    assert outcome.applied == [migration.path for migration in files.migrations()]
    assert (outcome.upgraded, outcome.failed) == ([], {})
    assert await site.schemas() == ["bf_control", "bf_queue", "bf_shared"]
    assert await site.rows(LEDGER) == sorted((m.layer, m.version, m.name, m.checksum) for m in files.migrations())
    assert await site.value("SELECT bool_and(applied_by = 'bf_migrator') FROM bf_control.migration")
    assert await site.roles() == ["app_role", "audit_role"]


async def test_a_second_run_executes_no_ddl_and_writes_nothing(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme", "zeta")
    before = await site.rows(WRITTEN, superuser=True)
    await site.execute(NO_DDL)
    outcome = await site.upgrade()
    assert (outcome.applied, outcome.upgraded, outcome.failed) == ([], [], {})
    assert await site.rows(WRITTEN, superuser=True) == before
    async with Watched(site.dsn, "SELECT pg_current_xact_id_if_assigned() IS NULL") as watched:
        await upgrade.run(watched, files.migrations(), Target())
    assert watched.answers == [True]

    with pytest.raises(DatabaseError, match="DDL was executed: CREATE TABLE"):
        await site.upgrade(migrations=migrations_with(tmp_path, shared="CREATE TABLE {{shared}}.more (id integer);"))


@pytest.mark.parametrize("layer", LAYERS)
async def test_an_applied_file_that_was_edited_is_refused_by_name(site: Site, tmp_path: Path, layer: str) -> None:
    await site.upgrade()
    root = copied_migrations(tmp_path)
    edited = max((root / layer).iterdir())
    edited.write_text(edited.read_text() + "\n-- only a comment\n")
    (root / "control" / f"{len(list((root / 'control').iterdir())) + 1:04}_next.sql").write_text("SELECT 1;")
    before = await site.rows(LEDGER)
    with pytest.raises(DatabaseError, match=f"migration {layer}/{edited.stem} was edited after it was applied") as info:
        await site.upgrade(migrations=script.load(root))
    assert "Put the file back" in (info.value.hint or "")
    assert await site.rows(LEDGER) == before


async def test_an_applied_file_that_was_renamed_is_refused(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    root = copied_migrations(tmp_path)
    (root / "shared" / "0002_functions.sql").rename(root / "shared" / "0002_routines.sql")
    with pytest.raises(DatabaseError, match="migration shared/0002_routines was edited"):
        await site.upgrade(migrations=script.load(root))


async def test_a_database_that_is_newer_than_the_files_is_refused(site: Site, tmp_path: Path) -> None:
    newer = migrations_with(tmp_path, tenant=EXTRA)
    await site.upgrade(migrations=newer)
    with pytest.raises(
        DatabaseError, match=f"newer than this release: tenant is at {LATEST + 1}, the files at {LATEST}"
    ):
        await site.upgrade()


async def test_two_upgrades_at_once_do_the_work_once(site: Site) -> None:
    outcomes = await asyncio.gather(*(site.upgrade() for _ in range(3)))
    everything = [migration.path for migration in files.migrations()]
    assert sorted(outcome.applied for outcome in outcomes) == [[], [], everything]
    assert await site.value("SELECT count(*) FROM bf_control.migration") == len(everything)


async def test_two_upgrades_at_once_bring_each_tenant_along_once(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme", "beta", "zeta")
    newer = migrations_with(tmp_path, tenant=EXTRA)
    outcomes = await asyncio.gather(*(site.upgrade(migrations=newer) for _ in range(3)))
    assert [outcome.failed for outcome in outcomes] == [{}, {}, {}]
    assert [row[2] for row in await site.rows(VERSIONS)] == [LATEST + 1] * 3


async def test_an_upgrade_waits_for_whoever_holds_the_lock(site: Site) -> None:
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with site.connect() as conn:
        await conn.execute(f"BEGIN; SELECT pg_advisory_xact_lock({script.ADVISORY_LOCK})")
        running = asyncio.create_task(site.upgrade())
        async with asyncio.timeout(5):
            while await site.value(waiting) == 0:  # noqa: ASYNC110 -- the event is the server's
                await asyncio.sleep(0.02)
        assert await site.schemas() == []
        await conn.execute("COMMIT")
    assert (await running).applied


async def test_every_transaction_has_a_lock_timeout_and_a_tenant_has_one_of_its_own(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme", "beta", "zeta")
    newer = migrations_with(
        tmp_path,
        control=PROBE.format("bf_control."),
        shared=PROBE.format("{{shared}}."),
        tenant="-- section: table\n" + PROBE.format(""),
    )
    async with Database(site.dsn, max_size=3, statement_cache=False) as database:
        outcome = await upgrade.run(database, newer, Target())
    assert (outcome.upgraded, outcome.failed) == (["acme", "beta", "zeta"], {})
    probes = {
        schema: (await site.rows(f"TABLE {schema}.probe"))[0]
        for schema in ("bf_control", "bf_shared", "bf_acme", "bf_beta", "bf_zeta")
    }
    assert {probe[0] for probe in probes.values()} == {"5s"}
    assert probes["bf_control"] == probes["bf_shared"]
    assert probes["bf_control"][2] == 1
    assert len({probe[1] for probe in probes.values()}) == 4


async def test_a_file_that_fails_leaves_nothing_behind(site: Site, tmp_path: Path) -> None:
    broken = migrations_with(tmp_path, shared="SELECT 1 / 0;")
    with pytest.raises(DatabaseError, match="division by zero"):
        await site.upgrade(migrations=broken)
    assert await site.schemas() == []
    assert await site.roles() == []
    assert (await site.upgrade()).applied


async def test_what_the_files_say_must_be_in_the_catalogue_before_it_commits(site: Site, tmp_path: Path) -> None:
    gone = "CREATE TABLE {{shared}}.fleeting (id integer); DROP TABLE {{shared}}.fleeting;"
    with pytest.raises(service.CatalogueMismatch, match="lacks: table fleeting"):
        await site.upgrade(migrations=migrations_with(tmp_path, shared=gone))
    assert await site.schemas() == []


async def test_tenants_in_every_state_with_a_schema_are_brought_along(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme", "asleep", "gone")
    await site.execute("SELECT bf_shared.suspend_tenant('asleep'), bf_shared.delete_tenant('gone')")
    await site.execute(
        "INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by) "
        "VALUES ('coming', 'x', 'bf_coming', 'provisioning', 'x'), ('broken', 'x', 'bf_broken', 'failed', 'x')"
    )
    newer = migrations_with(
        tmp_path,
        tenant="-- section: table\nALTER TABLE budgets ADD COLUMN extra text;\n"
        "-- section: index\nCREATE INDEX IF NOT EXISTS {{index budgets_extra}} ON budgets (extra);",
    )
    outcome = await site.upgrade(migrations=newer)
    assert outcome.applied == [f"migrations/tenant/{LATEST + 1:04}_added.sql"]
    assert outcome.upgraded == ["acme", "asleep", "gone"]
    assert await site.rows(VERSIONS) == [
        ("acme", "active", LATEST + 1),
        ("asleep", "suspended", LATEST + 1),
        ("broken", "failed", None),
        ("coming", "provisioning", None),
        ("gone", "deleted", LATEST + 1),
    ]
    await site.setup("newcomer")
    async with site.database() as database:
        expected = ExpectedTenants(database, newer)
        await expected.prepare(LATEST + 1)
        for tenant_id in ("acme", "asleep", "gone", "newcomer"):
            async with database.transaction() as conn:
                assert await conn.fetchval("SELECT to_regclass($1) IS NOT NULL", f"bf_{tenant_id}.budgets")
                difference = await expected.difference(
                    conn, tenant_id=tenant_id, schema_name=f"bf_{tenant_id}", version=LATEST + 1
                )
            assert difference.ok, difference.summary()
    assert await site.value("SELECT to_regclass('bf_newcomer.idx_newcomer_budgets_extra') IS NOT NULL")


async def test_a_tenant_that_fails_stops_no_other_and_is_tried_again(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme", "beta", "zeta")
    await site.execute("ALTER TABLE bf_beta.budgets ADD COLUMN extra text")
    newer = migrations_with(
        tmp_path, tenant="-- section: table\nCREATE TABLE notes (note text); ALTER TABLE budgets ADD COLUMN extra text;"
    )
    outcome = await site.upgrade(migrations=newer)
    assert outcome.upgraded == ["acme", "zeta"]
    assert outcome.failed == {"beta": 'column "extra" of relation "budgets" already exists'}
    assert [row[2] for row in await site.rows(VERSIONS)] == [LATEST + 1, LATEST, LATEST + 1]
    assert await site.value("SELECT to_regclass('bf_beta.notes')") is None

    await site.execute("ALTER TABLE bf_beta.budgets DROP COLUMN extra")
    outcome = await site.upgrade(migrations=newer)
    assert (outcome.applied, outcome.upgraded, outcome.failed) == ([], ["beta"], {})


async def test_a_tenant_that_ends_up_unlike_a_new_one_is_rolled_back(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme")
    await site.execute("DROP POLICY tenant_isolation_budgets ON bf_acme.budgets")
    newer = migrations_with(tmp_path, tenant=EXTRA)
    outcome = await site.upgrade(migrations=newer)
    assert outcome.upgraded == []
    assert "missing: policy budgets.tenant_isolation_budgets" in outcome.failed["acme"]
    assert await site.rows(VERSIONS) == [("acme", "active", LATEST)]
    assert not await site.value(
        "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'bf_acme.budgets'::regclass AND attname = 'extra')"
    )


async def test_the_service_installs_its_own_layer_and_an_operator_the_rest(site: Site) -> None:
    async with site.database() as database:
        first = await upgrade.run(database, files.migrations(), Target(), layers=("control",))
        async with database.connection() as conn:
            with pytest.raises(service.SchemaNotInstalled, match="bf-admin upgrade"):
                await service.require_shared(conn)
            state = await service.state(conn, files.migrations())
        assert {m.layer for m in state.pending} == {"shared", "tenant"}
        assert await site.schemas() == ["bf_control", "bf_queue"]
        second = await upgrade.run(database, files.migrations(), Target())
        async with database.connection() as conn:
            assert (await service.state(conn, files.migrations())).up_to_date
    assert first.applied + second.applied == [migration.path for migration in files.migrations()]


async def test_setup_tenant_is_not_there_before_the_shared_schema(site: Site) -> None:
    async with site.database() as database:
        await upgrade.run(database, files.migrations(), Target(), layers=("control",))
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="not installed") as info:
        await site.value("SELECT bf_control.setting_of('shared_schema')")
    assert info.value.hint == "Run: bf-admin upgrade"


# who may, and who must -------------------------------------------------------------------------------


async def test_another_role_than_the_owner_is_refused_and_told_whom_to_be(site: Site) -> None:
    await site.upgrade()
    await site.execute("CREATE ROLE \"Other Admin\" LOGIN SUPERUSER PASSWORD 'x'")
    dsn = site.cluster.dsn(site.name, "Other Admin", "x")
    with pytest.raises(PrivilegeMissing, match='bf_control belongs to bf_migrator, you are "Other Admin"') as info:
        await site.upgrade(dsn=dsn)
    assert info.value.hint == "Connect as bf_migrator, or SET ROLE bf_migrator first: one role owns all of it."


async def test_missing_privileges_are_named_with_what_grants_them(site: Site) -> None:
    await site.execute("CREATE ROLE newbie LOGIN PASSWORD 'x'")
    async with ddl_database(settings_for(site.cluster.dsn(site.name, "newbie", "x")), application_name="t") as database:
        with pytest.raises(PrivilegeMissing) as info:
            await upgrade.run(database, files.migrations(), Target())
        async with database.connection() as conn:
            told = await service.explain(conn, info.value, create_roles=True)
    assert told.endswith(
        f"Run as a superuser: GRANT CREATE ON DATABASE {site.name} TO newbie; ALTER ROLE newbie CREATEROLE;"
    )
    for statement in told.partition("superuser: ")[2].split(";")[:-1]:
        await site.execute(statement)
    assert (await site.upgrade(dsn=site.cluster.dsn(site.name, "newbie", "x"))).applied
    await site.execute("DROP OWNED BY newbie CASCADE; DROP ROLE app_role, audit_role")


async def test_roles_that_somebody_else_made_are_used_and_a_warning_says_what_is_missing(
    site: Site,
) -> None:
    """From PostgreSQL 16 on CREATEROLE reaches only the roles it made; before, any."""
    warned: list[asyncpg.PostgresLogMessage] = []
    await site.execute("CREATE ROLE app_role NOLOGIN; CREATE ROLE audit_role NOLOGIN; COMMENT ON ROLE app_role IS 'x'")
    async with site.connect() as conn:
        conn.add_log_listener(lambda _, message: warned.append(message))
        async with conn.transaction():
            wrapped: Connection = conn
            await _encode_jsonb(conn)
            await service.install(wrapped, files.migrations(), Target())
    await site.setup("acme")
    member = await site.value("SELECT pg_has_role('bf_migrator', 'audit_role', 'MEMBER')")
    assert await site.value("SELECT shobj_description('app_role'::regrole, 'pg_authid')") == "x"
    if await site.value("SELECT current_setting('server_version_num')::integer") >= 160000:
        assert not member
        assert [str(m.message) for m in warned] == ["role audit_role cannot be granted to bf_migrator"]
        assert warned[0].hint == "As a superuser: GRANT audit_role TO bf_migrator;"
    else:
        assert member
        assert warned == []


async def _encode_jsonb(conn: asyncpg.Connection) -> None:
    """As the pool's connections have it."""
    await conn.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=str, format="text")


async def test_the_owner_may_become_the_audit_role(site: Site) -> None:
    await site.upgrade()
    await site.setup("acme")
    async with site.connect() as conn, conn.transaction():
        await conn.execute("SET LOCAL ROLE audit_role")
        assert await conn.fetchval("SELECT count(*) FROM bf_acme.budgets") == 0


async def test_databases_of_one_cluster_share_their_roles_even_when_upgraded_at_once(site: Site) -> None:
    dsns = [site.dsn, *[await site.another() for _ in range(3)]]
    outcomes = await asyncio.gather(*(site.upgrade(dsn=dsn) for dsn in dsns))
    assert [len(outcome.applied) for outcome in outcomes] == [len(files.migrations())] * 4
    assert await site.roles() == ["app_role", "audit_role"]
    for dsn in dsns:
        async with site.connect(dsn) as conn:
            assert await conn.fetchval("SELECT bf_shared.setup_tenant('acme', 'ACME', 'tests')") is True
            async with conn.transaction():
                await conn.execute("SET LOCAL ROLE audit_role")
                assert await conn.fetchval("SELECT count(*) FROM bf_acme.scenarios") == 0


async def test_the_state_of_the_schema_counts_tenants_by_version(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme", "zeta")
    newer = migrations_with(tmp_path, tenant=EXTRA)
    async with site.database() as database:
        async with database.transaction() as conn:
            await service.install(conn, newer, Target())
        async with database.transaction() as conn:
            await queries.upgrade_tenant(conn, "acme")
        async with database.connection() as conn:
            state = await service.state(conn, newer)
    assert state.tenants == {LATEST: 1, LATEST + 1: 1}
    assert state.current == state.latest
    assert not state.up_to_date
    assert state.pending == ()


async def test_a_tenant_that_is_being_built_is_waited_for_and_brought_along(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    newer = migrations_with(tmp_path, tenant=EXTRA)
    async with site.connect() as building:
        transaction = building.transaction()
        await transaction.start()
        await building.execute("SELECT bf_shared.setup_tenant('late', 'Late', 'tests')")
        upgrading = asyncio.create_task(site.upgrade(migrations=newer))
        await asyncio.sleep(1)
        assert not upgrading.done()
        await transaction.commit()
        outcome = await upgrading
    assert outcome.upgraded == ["late"]
    assert await site.rows(VERSIONS) == [("late", "active", LATEST + 1)]


async def test_what_somebody_added_to_a_tenant_stops_no_upgrade(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme")
    await site.execute("CREATE INDEX my_fast ON bf_acme.budgets (created_by)")
    outcome = await site.upgrade(migrations=migrations_with(tmp_path, tenant=EXTRA))
    assert (outcome.upgraded, outcome.failed) == (["acme"], {})
    assert await site.value("SELECT to_regclass('bf_acme.my_fast') IS NOT NULL")


async def test_a_version_nobody_prepared_for_is_tried_again(site: Site, tmp_path: Path) -> None:
    await site.upgrade()
    await site.setup("acme")
    async with site.database() as database:
        expected = ExpectedTenants(database, files.migrations())
        await expected.prepare(LATEST)
        await site.execute(
            "INSERT INTO bf_control.tenant_statement SELECT max(version) + 1, 1, 'table', "
            "'ALTER TABLE budgets ADD COLUMN n text' FROM bf_control.tenant_statement"
        )
        with pytest.raises(Transient):
            async with database.transaction() as conn:
                await service.upgrade_tenant(conn, expected, "acme")
    assert await site.rows(VERSIONS) == [("acme", "active", LATEST)]
