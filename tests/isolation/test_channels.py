"""Other ways to somebody else's rows than asking for them: errors, plans, statistics, keys, views."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.isolation.expected import TABLES
from tests.isolation.trying import Trial, logins
from tests.support.cluster import Cluster

_SECRET = "acme buys initech"
_LEAK = """
CREATE FUNCTION pg_temp.leak(seen text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS
$$ BEGIN RAISE NOTICE 'seen %', seen; RETURN true; END $$
"""


@pytest.fixture(scope="module")
async def filled(two: str, cluster: Cluster) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection."""
    superuser = await asyncpg.connect(cluster.superuser_dsn(two.rpartition("/")[2]))
    await Trial(superuser, {}).fill()
    await superuser.execute("UPDATE bf_acme.budgets SET budget_name = $1", _SECRET)
    yield superuser
    await superuser.close()


@pytest.fixture
async def trial(two: str, cluster: Cluster, filled: asyncpg.Connection) -> AsyncIterator[Trial]:
    """An application in globex's context, whose eye is on acme's budget `r1`."""
    async with logins(cluster, filled, two, {"app": "app_role"}) as users:
        await users["app"].execute("SET app.current_tenant = 'globex'")
        yield Trial(filled, users)


async def test_functions_and_operators_that_tell_what_they_see_are_shown_nothing(trial: Trial) -> None:
    user, heard = trial.users["app"], []
    user.add_log_listener(lambda _, message: heard.append(str(message)))
    await user.execute(_LEAK)
    assert await user.fetch("SELECT 1 FROM bf_acme.budgets WHERE pg_temp.leak(budget_name)") == []
    assert await user.fetch("SELECT 1 FROM bf_acme.budgets WHERE 1 / (length(budget_name) - 17) = 1") == []
    assert await user.fetch("SELECT 1 FROM bf_acme.budgets WHERE budget_name::integer = 1") == []
    await asyncio.sleep(0)
    assert heard == []


async def test_a_plan_holds_no_value(trial: Trial) -> None:
    """That a filter has removed rows EXPLAIN ANALYZE does tell, and how many: docs/isolation.md says so."""
    user = trial.users["app"]
    for options in ("", "(ANALYZE, VERBOSE)"):
        plan = "\n".join(row[0] for row in await user.fetch(f"EXPLAIN {options} TABLE bf_acme.budgets"))
        assert _SECRET not in plan
        assert "current_setting" in plan


async def test_statistics_hold_no_value(trial: Trial) -> None:
    await trial.superuser.execute("ANALYZE bf_acme.budgets")
    assert await trial.users["app"].fetch("SELECT 1 FROM pg_stats WHERE schemaname = 'bf_acme'") == []


@pytest.mark.parametrize("table", TABLES)
async def test_whether_a_key_exists_shows_in_no_error(trial: Trial, table: str) -> None:
    """The policy and the CHECK come before the index, whichever tenant the row claims to be of."""
    for tenant, error in (("acme", asyncpg.InsufficientPrivilegeError), ("globex", asyncpg.CheckViolationError)):
        told = []
        for row_id in ("r1", "r2"):
            with pytest.raises(error) as info:
                await trial.users["app"].execute(await trial.insert(table, row_id, tenant=tenant))
            told.append(str(info.value).replace(row_id, "id"))
        assert told[0] == told[1]


async def test_a_foreign_key_from_ones_own_schema_asks_nothing_of_a_tenants_table(trial: Trial) -> None:
    user = trial.users["app"]
    login = await user.fetchval("SELECT session_user")
    await trial.superuser.execute(f"CREATE SCHEMA theirs AUTHORIZATION {login}")  # goes with its owner
    for table in TABLES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await user.execute(f"CREATE TABLE theirs.oracle (id varchar(36) REFERENCES bf_acme.{table})")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await user.execute(f"CREATE TABLE theirs.heir () INHERITS (bf_acme.{table})")
    for schema in ("bf_acme", "bf_globex", "bf_shared", "public"):
        if schema != "public" or user.get_server_version().major >= 15:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await user.execute(f"CREATE TABLE {schema}.mine ()")


async def test_a_view_shows_what_whoever_reads_it_may_see(trial: Trial) -> None:
    user = trial.users["app"]
    await user.execute("CREATE TEMP VIEW mine AS SELECT * FROM bf_acme.budgets")
    assert await user.fetch("SELECT * FROM mine") == []
    if user.get_server_version().major >= 15:
        await trial.superuser.execute(
            "CREATE VIEW bf_shared.all_budgets WITH (security_invoker = true) AS SELECT * FROM bf_acme.budgets;"
            "GRANT SELECT ON bf_shared.all_budgets TO app_role"
        )
        assert await user.fetch("SELECT * FROM bf_shared.all_budgets") == []
        await trial.superuser.execute("DROP VIEW bf_shared.all_budgets")


async def test_a_plan_that_was_made_in_one_context_is_held_to_the_next(trial: Trial) -> None:
    user = trial.users["app"]
    await user.execute("SET plan_cache_mode = force_generic_plan")
    await user.execute("PREPARE asked AS SELECT budget_name FROM bf_acme.budgets")
    await user.execute("SET app.current_tenant = 'acme'")
    assert await user.fetchval("EXECUTE asked") == _SECRET
    await user.execute("SET app.current_tenant = 'globex'")
    assert await user.fetchval("EXECUTE asked") is None


async def test_row_security_off_is_an_error_and_no_way_round(trial: Trial) -> None:
    user = trial.users["app"]
    await user.execute("SET row_security = off")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await user.fetch("SELECT * FROM bf_acme.budgets")


async def test_a_temporary_table_shadows_none_of_the_tenants(trial: Trial) -> None:
    user = trial.users["app"]
    await user.execute("CREATE TEMP TABLE budgets (trap text)")
    async with user.transaction():
        await user.execute("SELECT bf_shared.set_tenant_context('acme', 'u1')")
        assert await user.fetchval("SELECT budget_name FROM budgets") == _SECRET


async def test_there_is_no_sequence_whose_numbers_tell_how_much_others_do(trial: Trial) -> None:
    assert await trial.superuser.fetchval("SELECT count(*) FROM pg_sequences WHERE schemaname = 'bf_acme'") == 0


async def test_functions_that_run_a_query_of_their_own_are_held_too(trial: Trial) -> None:
    user = trial.users["app"]
    words = "SELECT word FROM ts_stat('SELECT to_tsvector(budget_name) FROM bf_acme.budgets')"
    assert await user.fetch(words) == []
    assert len(await trial.superuser.fetch(words)) == 3
