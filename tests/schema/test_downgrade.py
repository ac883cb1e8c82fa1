"""bf-admin downgrade: exactly what was installed goes, in small transactions, and nothing of anybody else's."""

import asyncio
import json
import os

import psycopg
import pytest

from app.db.pool import Database
from app.errors import Conflict, DatabaseError, PrivilegeMissing
from app.schema import downgrade, files, upgrade
from app.schema.downgrade import DowngradeBlocked
from app.schema.script import Target
from tests.schema.support import OTHERS, Site, Watched
from tests.support.cluster import client_program
from tests.support.processes import bf_admin, environment

FULL = os.environ.get("BF_TEST_FULL") == "1"

LOCKS = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND NOT fastpath"
# PostgreSQL's defaults; the clusters of the tests keep the first.
LOCKS_PER_TRANSACTION = 64
DATABASE_GRANTS = "SELECT datacl::text FROM pg_database WHERE datname = current_database()"


async def dump(site: Site) -> str:
    """Everything in the database as pg_dump writes it, but for its own random key."""
    pg_dump = client_program("pg_dump")
    process = await asyncio.create_subprocess_exec(
        pg_dump, site.cluster.superuser_dsn(site.name), stdout=asyncio.subprocess.PIPE
    )
    written, _ = await process.communicate()
    assert process.returncode == 0
    return "\n".join(line for line in written.decode().splitlines() if not line.startswith(("\\restrict", "\\unres")))


async def destroy(site: Site, target: Target | None = None) -> downgrade.Outcome:
    async with site.database() as database:
        return await downgrade.run(database, target or Target())


async def plan(site: Site) -> downgrade.Plan:
    async with site.database() as database, database.connection() as conn:
        return await downgrade.plan(conn, Target())


async def test_a_downgrade_leaves_the_database_as_it_was_before_the_upgrade(site: Site) -> None:
    await site.execute(OTHERS)
    # Names alone make nobody a tenant of ours.
    await site.execute("CREATE SCHEMA bf_stray; CREATE TABLE bf_stray.budgets (id integer)")
    before, grants = await dump(site), await site.value(DATABASE_GRANTS)
    await site.upgrade()
    await site.setup("acme", "zeta")
    assert await dump(site) != before
    outcome = await destroy(site)
    assert outcome.tenants == ["acme", "zeta"]
    assert (outcome.roles_dropped, outcome.roles_kept) == (["app_role", "audit_role"], {})
    assert await dump(site) == before
    assert await site.value(DATABASE_GRANTS) == grants
    assert await site.roles() == []


async def test_after_a_downgrade_an_upgrade_starts_anew(site: Site) -> None:
    await site.upgrade()
    await site.setup("acme")
    await destroy(site)
    assert len((await site.upgrade()).applied) > 1
    await site.setup("acme")


async def test_where_nothing_is_installed_nothing_is_dropped(site: Site) -> None:
    await site.execute("CREATE ROLE app_role; CREATE SCHEMA bf_shared; CREATE SCHEMA bf_acme")
    assert not (await plan(site)).installed
    outcome = await destroy(site)
    assert (outcome.tenants, outcome.roles_dropped) == ([], [])
    assert await site.schemas() == ["bf_acme", "bf_shared"]
    assert await site.roles() == ["app_role"]


async def test_the_plan_lists_every_tenant_with_its_size(site: Site) -> None:
    await site.upgrade()
    await site.setup("acme", "zeta")
    async with site.connect() as conn, conn.transaction():
        await conn.execute("SELECT bf_shared.set_tenant_context('zeta', 'u'); GRANT app_role TO CURRENT_USER")
        await conn.execute("SET LOCAL ROLE app_role")
        await conn.execute(
            "INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end) "
            "SELECT n, repeat('b', 200), 'annual', 2025, '2025-01-01', '2025-12-31' FROM generate_series(1, 500) n"
        )
    sizes = {tenant.schema_name: tenant.size for tenant in (await plan(site)).tenants}
    assert list(sizes) == ["bf_acme", "bf_zeta"]
    measured = (
        "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c "
        "WHERE relkind = 'r' AND relnamespace = $1::text::regnamespace"
    )
    for schema, size in sizes.items():
        assert size == await site.value(measured, schema)
    assert sizes["bf_zeta"] > sizes["bf_acme"] + 100_000


async def test_the_command_tells_everything_and_drops_nothing_without_the_confirmation(site: Site) -> None:
    await site.execute(OTHERS)
    await site.upgrade()
    await site.setup("acme")
    await site.execute("CREATE VIEW billing.b AS SELECT id FROM bf_acme.budgets")
    before, env = await dump(site), environment(site.dsn)
    told = await bf_admin("downgrade", env=env)
    assert told.code == 2
    size = (await plan(site)).tenants[0].size
    assert told.stdout.splitlines() == [
        f"In database {site.name}, a downgrade drops:",
        f"  bf_acme\t{size // 1024} kB",
        f"  1 tenants, {size // 1024} kB; the shared schema, bf_control and bf_queue",
        "  in the way: view billing.b depends on table bf_acme.budgets",
    ]
    assert "To destroy all of this: bf-admin downgrade --confirm-destroy" in told.stderr
    assert await dump(site) == before

    await site.execute("DROP VIEW billing.b")
    done = await bf_admin("downgrade", "--confirm-destroy", "--json", env=env)
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout) == {
        "plan": {
            "database": site.name,
            "tenants": [{"tenant_id": "acme", "schema_name": "bf_acme", "tables": 6, "rows": 0, "bytes": size}],
            "bytes": size,
            "blockers": [],
        },
        "dropped": {"tenants": ["acme"], "roles_dropped": ["app_role", "audit_role"], "roles_kept": {}},
    }
    assert await site.schemas() == ["bfx_other", "billing"]


# what is somebody else's ------------------------------------------------------------------------------

IN_THE_WAY = {
    "a view on a tenant's table": (
        "CREATE VIEW billing.b AS SELECT id FROM bf_zeta.budgets",
        "view billing.b depends on table bf_zeta.budgets",
    ),
    "a materialized view": (
        "CREATE MATERIALIZED VIEW billing.m AS SELECT id FROM bf_zeta.budgets",
        "materialized view billing.m depends on table bf_zeta.budgets",
    ),
    "a foreign key": (
        "CREATE TABLE billing.bill (budget varchar REFERENCES bf_zeta.budgets)",
        "table billing.bill depends on table bf_zeta.budgets",
    ),
    "a column of a row type": (
        "CREATE TABLE billing.copies (copy bf_zeta.budgets)",
        "table billing.copies depends on table bf_zeta.budgets",
    ),
    "a function over a row type": (
        "CREATE FUNCTION billing.f(bf_zeta.budgets[]) RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "function billing.f(bf_zeta.budgets[]) depends on table bf_zeta.budgets",
    ),
    "a child table": (
        "CREATE TABLE billing.child () INHERITS (bf_zeta.budgets)",
        "table billing.child depends on table bf_zeta.budgets",
    ),
    "a view on a shared table": (
        "CREATE VIEW billing.r AS SELECT * FROM bf_shared.currency_rates",
        "view billing.r depends on table bf_shared.currency_rates",
    ),
    "a trigger that calls a function of ours": (
        "CREATE TRIGGER t BEFORE UPDATE ON billing.invoice FOR EACH ROW EXECUTE FUNCTION bf_control.touch_row()",
        "table billing.invoice depends on function bf_control.touch_row()",
    ),
    "a default that calls a function of ours": (
        "ALTER TABLE billing.invoice ADD COLUMN known boolean DEFAULT bf_control.is_currency('EUR')",
        "table billing.invoice depends on function bf_control.is_currency(text)",
    ),
    "a table in a tenant's schema": (
        "CREATE TABLE bf_zeta.notes (note text)",
        "table bf_zeta.notes is in schema bf_zeta",
    ),
    "a function in the shared schema": (
        "CREATE FUNCTION bf_shared.f() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        "function bf_shared.f() is in schema bf_shared",
    ),
    "a view from one tenant to another": (
        "CREATE VIEW bf_acme.peek AS SELECT id FROM bf_zeta.budgets",
        "view bf_acme.peek depends on table bf_zeta.budgets",
    ),
    "a type": ("CREATE TYPE bf_zeta.colour AS ENUM ('red')", "type bf_zeta.colour is in schema bf_zeta"),
    "a sequence": ("CREATE SEQUENCE bf_acme.serial", "sequence bf_acme.serial is in schema bf_acme"),
    "a domain": ("CREATE DOMAIN bf_shared.money AS numeric", "type bf_shared.money is in schema bf_shared"),
    "a collation": ('CREATE COLLATION bf_control.c FROM "C"', "collation bf_control.c is in schema bf_control"),
    "a table of the queue's schema": ("CREATE TABLE bf_queue.more (id integer)", "table bf_queue.more is in schema"),
}


@pytest.fixture
async def installed(site: Site) -> Site:
    await site.execute(OTHERS)
    await site.upgrade()
    await site.setup("acme", "zeta")
    return site


async def test_what_is_not_ours_stops_the_downgrade_before_anything_is_dropped(installed: Site) -> None:
    for statement, _ in IN_THE_WAY.values():
        await installed.execute(statement)
    before = await dump(installed)
    told = "\n".join((await plan(installed)).blockers)
    assert [blocker for _, blocker in IN_THE_WAY.values() if blocker not in told] == [], told
    with pytest.raises(DowngradeBlocked, match="not ours stand in the way"):
        await destroy(installed)
    assert await dump(installed) == before


@pytest.mark.parametrize("case", ["a view on a tenant's table", "a table in a tenant's schema", "a foreign key"])
async def test_one_thing_in_the_way_is_enough_and_is_named(installed: Site, case: str) -> None:
    statement, blocker = IN_THE_WAY[case]
    await installed.execute(statement)
    before = await dump(installed)
    assert (await plan(installed)).blockers == (blocker,)
    with pytest.raises(DowngradeBlocked) as info:
        await destroy(installed)
    assert blocker in str(info.value)
    assert await dump(installed) == before


async def test_what_somebody_added_to_our_tables_goes_with_them(installed: Site) -> None:
    await installed.execute("""
        CREATE INDEX theirs ON bf_acme.budgets (budget_name);
        ALTER TABLE bf_acme.budgets ADD COLUMN n serial, ADD CONSTRAINT c CHECK (n > 0);
        CREATE FUNCTION billing.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER theirs BEFORE INSERT ON bf_acme.budgets FOR EACH ROW EXECUTE FUNCTION billing.f();
        CREATE POLICY theirs ON bf_acme.budgets TO CURRENT_USER USING (true);
        GRANT SELECT ON bf_acme.budgets TO PUBLIC; GRANT USAGE ON SCHEMA bf_acme TO PUBLIC;
    """)
    assert (await plan(installed)).blockers == ()
    await destroy(installed)
    assert await installed.schemas() == ["bfx_other", "billing"]


async def test_what_appears_after_the_plan_stops_postgresql_itself(installed: Site) -> None:
    def meddle(_: object) -> None:
        with psycopg.connect(installed.cluster.superuser_dsn(installed.name)) as conn:
            conn.execute("CREATE VIEW billing.b AS SELECT id FROM bf_zeta.budgets")

    async with installed.database() as database:
        with pytest.raises(DatabaseError, match="because other objects depend on"):
            await downgrade.run(database, Target(), progress=meddle)
    assert await installed.rows("SELECT count(*) FROM billing.b", superuser=True) == [(0,)]
    assert "bf_zeta" in await installed.schemas()


async def test_a_schema_of_a_tenant_that_was_never_built_is_not_ours(site: Site) -> None:
    await site.upgrade()
    await site.execute("CREATE SCHEMA bf_ghost; CREATE TABLE bf_ghost.budgets (id integer)")
    await site.execute(
        "INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, created_by) "
        "VALUES ('ghost', 'Ghost', 'bf_ghost', 'failed', 'tests')"
    )
    assert [tenant.size for tenant in (await plan(site)).tenants] == [0]
    await destroy(site)
    assert await site.schemas() == ["bf_ghost"]
    assert await site.rows("SELECT to_regclass('bf_ghost.budgets') IS NOT NULL", superuser=True) == [(True,)]


# in small pieces --------------------------------------------------------------------------------------


async def locks_by_transaction(site: Site, tenants: int) -> list[int]:
    await site.upgrade()
    await site.setup(*(f"tenant_{number:03}" for number in range(tenants)))
    async with Watched(site.dsn, LOCKS) as watched:
        outcome = await downgrade.run(watched, Target())
    assert len(outcome.tenants) == tenants
    assert await site.schemas() == []
    return watched.answers


async def test_no_transaction_takes_more_locks_because_there_are_more_tenants(site: Site) -> None:
    """500 tenants at the default settings: BF_TEST_FULL=1. Else: more tenants, no more locks."""
    few = await locks_by_transaction(site, 2)
    many = await locks_by_transaction(site, 500 if FULL else 12)
    # The plan, each tenant, and the rest.
    assert (len(few), len(many)) == (4, (500 if FULL else 12) + 2)
    assert max(few) > 200  # else nothing was counted
    assert max(many) <= max(few) + 10
    # With 100 connections the lock table has room for 6400; even the last transaction, which drops the control layer,
    # must leave most of it.
    assert max(many) < 100 * LOCKS_PER_TRANSACTION / 4


async def test_a_downgrade_that_was_cut_short_goes_on_where_it_stopped(installed: Site) -> None:
    def cut(_: object) -> None:
        raise KeyboardInterrupt

    async with installed.database() as database:
        with pytest.raises(KeyboardInterrupt):
            await downgrade.run(database, Target(), progress=cut)
    assert await installed.value("SELECT array_agg(tenant_id::text) FROM bf_control.tenant") == ["zeta"]
    assert await installed.value("SELECT array_agg(tenant_id::text) FROM bf_shared.tenant_config") == ["zeta"]
    assert "bf_acme" not in await installed.schemas()
    assert (await destroy(installed)).tenants == ["zeta"]
    assert await installed.schemas() == ["bfx_other", "billing"]


async def test_a_tenant_that_is_made_meanwhile_is_not_destroyed_unseen(installed: Site) -> None:
    def make_another(step: downgrade.Progress) -> None:
        if step.done == step.total:
            with psycopg.connect(installed.dsn) as conn:
                conn.execute("SELECT bf_shared.setup_tenant('late', 'Late', 'tests')")

    async with installed.database() as database:
        with pytest.raises(Conflict, match="A tenant was made meanwhile"):
            await downgrade.run(database, Target(), progress=make_another)
    assert {"bf_late", "bf_shared", "bf_control"} < set(await installed.schemas())


async def test_two_downgrades_at_once_do_the_work_once(installed: Site) -> None:
    outcomes = await asyncio.gather(destroy(installed), destroy(installed), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    assert await installed.schemas() == ["bfx_other", "billing"]
    assert await installed.roles() == []


async def test_only_the_owner_may_downgrade(site: Site) -> None:
    await site.upgrade()
    await site.setup("acme")
    async with Watched(site.cluster.superuser_dsn(site.name), "SELECT 1") as database:
        with pytest.raises(PrivilegeMissing, match="bf_control belongs to bf_migrator, you are postgres"):
            await downgrade.run(database, Target())
    assert "bf_acme" in await site.schemas()


# roles ------------------------------------------------------------------------------------------------


async def test_roles_stay_until_the_last_database_of_the_cluster_lets_go(site: Site) -> None:
    neighbour = await site.another()
    await site.upgrade()
    await site.upgrade(dsn=neighbour)
    outcome = await destroy(site)
    name = neighbour.rpartition("/")[2].partition("?")[0]
    assert outcome.roles_dropped == []
    assert outcome.roles_kept == dict.fromkeys(("app_role", "audit_role"), f"needed by database {name}")
    async with site.connect(neighbour) as conn:
        await conn.execute("SELECT bf_shared.setup_tenant('acme', 'ACME', 'tests')")
    last = Site(site.cluster, neighbour)
    assert (await destroy(last)).roles_dropped == ["app_role", "audit_role"]


async def test_a_membership_keeps_a_role_as_drop_role_would_take_it_silently(site: Site) -> None:
    await site.upgrade()
    await site.execute("CREATE ROLE shop LOGIN; GRANT app_role TO shop; CREATE ROLE staff; GRANT staff TO audit_role")
    outcome = await destroy(site)
    assert outcome.roles_dropped == []
    assert outcome.roles_kept == {"app_role": "granted to shop", "audit_role": "a member of staff"}
    assert await site.value("SELECT pg_has_role('shop', 'app_role', 'MEMBER')")
    assert await site.value("SELECT pg_has_role('audit_role', 'staff', 'MEMBER')")


async def test_what_a_role_has_in_this_database_besides_keeps_it(site: Site) -> None:
    await site.execute(OTHERS)
    await site.upgrade()
    await site.execute("GRANT SELECT ON bfx_other.budgets TO app_role; ALTER ROLE audit_role LOGIN")
    outcome = await destroy(site)
    assert outcome.roles_kept == {"app_role": f"needed by database {site.name}", "audit_role": "it may log in"}
    may_read = "SELECT has_table_privilege('app_role', 'bfx_other.budgets', 'SELECT')"
    assert await site.rows(may_read, superuser=True) == [(True,)]


async def test_a_role_that_was_there_before_stays(site: Site) -> None:
    await site.execute("CREATE ROLE app_role")
    await site.upgrade()
    outcome = await destroy(site)
    assert outcome.roles_dropped == ["audit_role"]
    assert outcome.roles_kept["app_role"].startswith("its comment does not say")
    assert await site.roles() == ["app_role"]


async def test_a_shared_schema_that_is_not_ours_survives(site: Site) -> None:
    """The service's own layer alone is installed, and somebody else has tables of the same names."""
    await site.execute("CREATE SCHEMA bf_shared AUTHORIZATION bf_migrator")
    async with site.connect() as owner:
        await owner.execute("CREATE TABLE bf_shared.tenant_config AS SELECT 'precious' AS content")
        with pytest.raises(DatabaseError, match="already exists"):
            await site.upgrade()
        async with site.database() as database:
            await upgrade.run(database, files.migrations(), Target(), layers=("control",))
            planned = await planned_by(database)
            assert planned.blockers == ()
            await downgrade.run(database, Target())
        assert await owner.fetchval("SELECT content FROM bf_shared.tenant_config") == "precious"
    assert await site.schemas() == ["bf_shared"]


async def planned_by(database: Database) -> downgrade.Plan:
    async with database.connection() as conn:
        return await downgrade.plan(conn, Target())
