"""Row-level security of a tenant's tables: 6 tables × roles × verbs × contexts, as login users with those roles."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.isolation.expected import EXPECTED, TABLES
from tests.isolation.trying import Trial, logins
from tests.support.cluster import Cluster

_POLICIES = """
SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, count(p.oid) AS policies
  FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
 WHERE c.relnamespace = 'bf_acme'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
 GROUP BY c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity
"""

# Of every mutation here.
_UNDO = """
DROP POLICY IF EXISTS more ON bf_acme.budgets;
SELECT bf_shared.create_tenant_rls_policies('acme'), bf_control.keep_tenant_role('acme');
REVOKE TRUNCATE ON ALL TABLES IN SCHEMA bf_acme FROM app_role;
REVOKE USAGE ON SCHEMA bf_acme FROM PUBLIC;
"""


@pytest.fixture(scope="module")
async def trial(two_with_roles: str, cluster: Cluster) -> AsyncIterator[Trial]:
    """Tenants have roles here: those of the application and of the auditor are what they are without."""
    owner = await asyncpg.connect(two_with_roles, statement_cache_size=0)
    superuser = await asyncpg.connect(cluster.superuser_dsn(two_with_roles.rpartition("/")[2]), statement_cache_size=0)
    groups = {"app": "app_role", "audit": "audit_role", "stranger": None}
    for name, tenant_id in (("tenant", "acme"), ("foreign", "globex")):
        groups[name] = await owner.fetchval("SELECT bf_control.tenant_role($1)", tenant_id)
    async with logins(cluster, superuser, two_with_roles, groups) as users:
        made = Trial(superuser, {**users, "owner": owner})
        await made.fill()
        yield made
    await owner.close()
    await superuser.close()


def _unexpected(outcomes: dict[tuple[str, str, str, str], str]) -> dict[tuple[str, str, str, str], str]:
    return {key: found for key, found in outcomes.items() if found != EXPECTED[key[0], key[1], key[3]]}


async def test_the_matrix(trial: Trial) -> None:
    outcomes = await trial.outcomes()
    assert len(outcomes) >= 6 * 6 * 4 * 11
    assert _unexpected(outcomes) == {}


@pytest.mark.parametrize(
    ("mutation", "told"),
    [
        ("ALTER TABLE bf_acme.budgets DISABLE ROW LEVEL SECURITY", ("app", "other", "budgets", "select")),
        ("ALTER TABLE bf_acme.budgets NO FORCE ROW LEVEL SECURITY", ("owner", "unset", "budgets", "update")),
        ("DROP POLICY tenant_isolation_budgets ON bf_acme.budgets", ("app", "own", "budgets", "select")),
        ("DROP POLICY audit_access_budgets ON bf_acme.budgets", ("audit", "unset", "budgets", "select")),
        ("CREATE POLICY more ON bf_acme.budgets FOR UPDATE USING (true)", ("app", "other", "budgets", "update")),
        (
            "ALTER POLICY tenant_isolation_budgets ON bf_acme.budgets WITH CHECK (true)",
            ("app", "other", "budgets", "insert"),
        ),
        ("GRANT TRUNCATE ON ALL TABLES IN SCHEMA bf_acme TO app_role", ("app", "other", "budgets", "truncate")),
        ("REVOKE DELETE ON bf_acme.budgets FROM app_role", ("app", "own", "budgets", "delete")),
        ("GRANT USAGE ON SCHEMA bf_acme TO PUBLIC", ("stranger", "unset", "budgets", "select")),
    ],
)
async def test_the_matrix_tells_of_each_thing_that_is_altered(
    trial: Trial, mutation: str, told: tuple[str, str, str, str]
) -> None:
    role, context, table, verb = told
    await trial.superuser.execute(mutation)
    try:
        assert await trial.outcome(role, context, table, verb) != EXPECTED[role, context, verb]
    finally:
        await trial.superuser.execute(_UNDO)
    assert await trial.outcome(role, context, table, verb) == EXPECTED[role, context, verb]


async def test_what_is_in_the_matrix_is_all_there_is(trial: Trial) -> None:
    """A table that is added without a policy, or without a place in the matrix, is found here."""
    rows = await trial.superuser.fetch(_POLICIES)
    assert {row["relname"]: tuple(row)[1:] for row in rows} == dict.fromkeys(TABLES, (True, True, 2))


async def test_the_owner_reads_as_the_auditor_that_it_is_and_else_nothing(trial: Trial) -> None:
    try:
        for table in TABLES:
            await trial.superuser.execute(f"DROP POLICY audit_access_{table} ON bf_acme.{table}")
            assert await trial.outcome("owner", "own", table, "select") == "0"
    finally:
        await trial.superuser.execute(_UNDO)


async def test_a_row_of_another_tenant_is_refused_even_without_policies(trial: Trial) -> None:
    for table in TABLES:
        with pytest.raises(asyncpg.CheckViolationError, match=f"{table}_tenant_check"):
            await trial.superuser.execute(await trial.insert(table, "r9", tenant="globex"))


async def test_the_context_function_opens_one_tenant_for_one_transaction(trial: Trial) -> None:
    user = trial.users["app"]
    async with user.transaction():
        await user.execute("SELECT bf_shared.set_tenant_context('acme', 'u1')")
        assert await user.fetchval("SELECT count(*) FROM budgets") == 1
        assert await user.fetchval("SELECT count(*) FROM bf_globex.budgets") == 0
        assert await user.fetch("SELECT tenant_id FROM bf_shared.tenant_config") == [("acme",)]
    assert await user.fetchval("SELECT count(*) FROM bf_acme.budgets") == 0
    assert await user.fetchval("SELECT current_setting('app.current_tenant', true)") in {None, ""}
    for wrong in ("nobody", "", "ACME", "bf_acme", "acme' OR '1'='1", None):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await user.execute("SELECT bf_shared.set_tenant_context($1, 'u1')", wrong)


@pytest.mark.parametrize("role", ["app", "tenant", "foreign", "audit", "stranger"])
async def test_nobody_but_the_owner_administers_anything(trial: Trial, role: str) -> None:
    user = trial.users[role]
    for forbidden in (
        "SELECT * FROM bf_control.tenant",
        "SELECT * FROM bf_control.api_key",
        "SELECT * FROM bf_queue.pgqueuer",
        "SELECT bf_shared.setup_tenant('mine', 'M', 'me')",
        "SELECT bf_shared.suspend_tenant('acme')",
        "SELECT bf_control.keep_tenant_role('acme')",
        "UPDATE bf_shared.tenant_config SET billing_contact = 'x'",
        "CREATE TABLE bf_acme.mine ()",
        "CREATE VIEW bf_shared.mine AS SELECT 1",
        "ALTER TABLE bf_acme.budgets DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation_budgets ON bf_acme.budgets",
        "SET ROLE bf_migrator",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await user.execute(forbidden)


async def test_nothing_of_the_service_can_be_called_but_what_an_application_needs(trial: Trial) -> None:
    callable_by = await trial.superuser.fetch(
        """SELECT r.name, array_agg(p.proname::text ORDER BY p.proname) AS functions
             FROM unnest($1::text[]) AS r(name), pg_proc p
            WHERE p.pronamespace IN ('bf_control'::regnamespace, 'bf_shared'::regnamespace, 'bf_queue'::regnamespace)
              AND has_function_privilege(r.name, p.oid, 'EXECUTE') AND p.proname <> 'fn_pgqueuer_changed'
            GROUP BY r.name""",
        ["app_role", "audit_role", await trial.superuser.fetchval("SELECT bf_control.tenant_role('acme')")],
    )
    found = {row["name"].partition("_")[0]: row["functions"] for row in callable_by}
    lookup = ["set_tenant_context", "tenant_schema"]
    assert found == {"app": lookup, "bf": ["is_own_tenant", *lookup]}
