"""Mending a tenant's schema: whatever is taken from it or changed in it is named, and put right."""

import os
import random
from collections.abc import AsyncIterator
from typing import NamedTuple

import asyncpg
import pytest

from app.schema import catalogue, mending
from app.schema.catalogue import Difference
from app.schema.expected import ExpectedTenants
from app.schema.mending import Repair, Subject
from tests.support.cluster import Cluster
from tests.support.data import LATEST

ACME = Subject(tenant_id="acme_corp", schema_name="bf_acme_corp", version=LATEST)
FULL = os.environ.get("BF_TEST_FULL") == "1"
SEED = int(os.environ.get("BF_TEST_SEED", random.SystemRandom().randrange(10**6)))


# A table with pages is one in use, whose indexes are built aside.
_EMPTY = """
SELECT 'TRUNCATE ' || string_agg(format('%I.%I', schemaname, tablename), ', ') FROM pg_tables WHERE schemaname = $1
"""


@pytest.fixture(scope="session")
async def owner_connection(cluster: Cluster, built: str) -> AsyncIterator[asyncpg.Connection]:
    opened = await asyncpg.connect(cluster.dsn(built), statement_cache_size=0)
    yield opened
    await opened.close()


@pytest.fixture
async def owner(owner_connection: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """The migration user, in a transaction that is rolled back; tables have no pages, which others' rows leave."""
    transaction = owner_connection.transaction()
    await transaction.start()
    await owner_connection.execute(await owner_connection.fetchval(_EMPTY, ACME.schema_name))
    yield owner_connection
    await transaction.rollback()


async def examined(conn: asyncpg.Connection, expected: ExpectedTenants) -> Difference:
    async with conn.transaction():
        return (await mending.examine(conn, expected, ACME)).difference


def names(difference: Difference) -> set[str]:
    return {str(drift) for drift in (*difference.missing, *difference.extra, *difference.altered)}


def assert_whole(repair: Repair) -> None:
    assert repair.after.ok, (repair.after.summary(), repair.refused)
    assert not repair.left


def _kind_of(line: str) -> tuple[str, ...]:
    """What sort of fact it is: one of each sort is always tried."""
    kind, _, definition = line.split("\t", 2)
    return kind, *(definition.split()[: 3 if kind in {"policy", "trigger", "relation"} else 1])


_KEYED = """
SELECT c.relname || '.' || a.attname
  FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)
 WHERE i.indisprimary AND c.relnamespace = to_regnamespace($1)
"""


async def test_whatever_is_taken_away_is_named_and_mended(
    owner: asyncpg.Connection, built_expected: ExpectedTenants, subtests: pytest.Subtests
) -> None:
    """Over the facts of the catalogue itself: what the migrations add is tried without being named here."""
    async with owner.transaction():
        facts = await catalogue.statements(owner, ACME.schema_name)
        # NOT NULL of a key's column goes only after the key.
        held = {f"column\t{name}\tnot null" for (name,) in await owner.fetch(_KEYED, ACME.schema_name)}
    takeable = sorted(line for line, fact in facts.items() if fact.unmake is not None and line not in held)
    print(f"BF_TEST_SEED={SEED}")  # noqa: T201
    chance = random.Random(SEED)  # noqa: S311
    chance.shuffle(takeable)
    if not FULL:
        first = {_kind_of(line): line for line in takeable}
        takeable = [*first.values(), *takeable[:10]]
    assert len({line.split("\t")[0] for line in takeable}) >= 8
    for line in takeable:
        with subtests.test(line):
            savepoint = owner.transaction()
            await savepoint.start()
            try:
                await _taken_and_mended(owner, built_expected, line, str(facts[line].unmake))
            finally:
                await savepoint.rollback()


async def _taken_and_mended(conn: asyncpg.Connection, expected: ExpectedTenants, line: str, taking: str) -> None:
    kind, name = catalogue.key_of(line)
    if " DROP CO" in taking or taking.startswith(("DROP TABLE", "DROP ROUTINE")):
        taking += " CASCADE"
    await conn.execute(taking)
    found = await examined(conn, expected)
    assert f"{kind} {name}".strip() in names(found)
    assert_whole(await mending.mend(conn, expected, ACME))
    assert (await examined(conn, expected)).ok


class Change(NamedTuple):
    sql: str
    named: str


CHANGES = {
    "another type": Change(
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_code TYPE text", "column budgets.budget_code"
    ),
    "another type, of a key": Change(
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN id TYPE varchar(50)", "column budgets.id"
    ),
    "another type, with triggers that look at it": Change(
        "DROP TRIGGER usage_update ON bf_acme_corp.budgets; "
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN is_deleted DROP DEFAULT; "
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN is_deleted TYPE text",
        "column budgets.is_deleted",
    ),
    "another type, of what a policy reads": Change(
        "DROP POLICY tenant_isolation_budgets ON bf_acme_corp.budgets; "
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN tenant_id TYPE varchar(40)",
        "column budgets.tenant_id",
    ),
    "another collation": Change(
        'ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_name TYPE varchar(255) COLLATE "C"',
        "column budgets.budget_name",
    ),
    "another default": Change(
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN status SET DEFAULT 'final'", "column budgets.status"
    ),
    "a default where there is none": Change(
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_type SET DEFAULT 'x'", "column budgets.budget_type"
    ),
    "not null where it may be": Change(
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN status SET NOT NULL", "column budgets.status"
    ),
    "another check": Change(
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check, "
        "ADD CONSTRAINT budgets_tenant_check CHECK (tenant_id <> '')",
        "constraint budgets.budgets_tenant_check",
    ),
    "a check that is not validated": Change(
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check, "
        "ADD CONSTRAINT budgets_tenant_check CHECK (tenant_id = 'acme_corp') NOT VALID",
        "constraint budgets.budgets_tenant_check",
    ),
    "another primary key": Change(
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_pkey CASCADE, "
        "ADD CONSTRAINT budgets_pkey PRIMARY KEY (tenant_id, id)",
        "constraint budgets.budgets_pkey",
    ),
    "another primary key, with foreign keys": Change(
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_pkey CASCADE, "
        "ADD CONSTRAINT budgets_pkey PRIMARY KEY (id) INCLUDE (tenant_id); "
        "ALTER TABLE bf_acme_corp.scenarios ADD CONSTRAINT scenarios_base_budget_id_fkey "
        "FOREIGN KEY (base_budget_id) REFERENCES bf_acme_corp.budgets (id) ON DELETE CASCADE",
        "constraint budgets.budgets_pkey",
    ),
    "another index": Change(
        "DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status; "
        "CREATE INDEX idx_acme_corp_budgets_status ON bf_acme_corp.budgets (is_deleted)",
        "index budgets.idx_acme_corp_budgets_status",
    ),
    "a trigger disabled": Change(
        "ALTER TABLE bf_acme_corp.budgets DISABLE TRIGGER touch_row", "trigger budgets.touch_row"
    ),
    "another trigger": Change(
        "DROP TRIGGER touch_row ON bf_acme_corp.budgets; "
        "CREATE TRIGGER touch_row BEFORE UPDATE ON bf_acme_corp.budgets "
        "FOR EACH ROW WHEN (false) EXECUTE FUNCTION bf_control.touch_row()",
        "trigger budgets.touch_row",
    ),
    "a policy for all": Change(
        "CREATE POLICY more ON bf_acme_corp.budgets TO PUBLIC USING (true)", "policy budgets.more"
    ),
    "a policy that lets more through": Change(
        "ALTER POLICY tenant_isolation_budgets ON bf_acme_corp.budgets USING (true)",
        "policy budgets.tenant_isolation_budgets",
    ),
    "a policy that lets nothing through": Change(
        "CREATE POLICY more ON bf_acme_corp.budgets AS RESTRICTIVE USING (false)", "policy budgets.more"
    ),
    "a grant to all": Change(
        "GRANT SELECT ON bf_acme_corp.budgets TO PUBLIC", "relation grant budgets SELECT to public"
    ),
    "a grant too many": Change(
        "GRANT TRUNCATE ON bf_acme_corp.budgets TO app_role", "relation grant budgets TRUNCATE to app_role"
    ),
    "a grant that can be handed on": Change(
        "GRANT SELECT ON bf_acme_corp.budgets TO audit_role WITH GRANT OPTION",
        "relation grant budgets SELECT to audit_role",
    ),
    "a grant of a column": Change(
        "GRANT REFERENCES (id) ON bf_acme_corp.budgets TO app_role", "column grant budgets.id REFERENCES to app_role"
    ),
    "a grant on the schema": Change(
        "GRANT CREATE ON SCHEMA bf_acme_corp TO app_role", "schema grant  CREATE to app_role"
    ),
    "a rule": Change("CREATE RULE more AS ON UPDATE TO bf_acme_corp.budgets DO INSTEAD NOTHING", "rule budgets.more"),
    "an option of a table": Change("ALTER TABLE bf_acme_corp.budgets SET (fillfactor = 70)", "relation budgets"),
    "unlogged": Change("ALTER TABLE bf_acme_corp.forecast_data_points SET UNLOGGED", "relation forecast_data_points"),
    "everything gone": Change("DROP SCHEMA bf_acme_corp CASCADE", "schema"),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_a_change_is_named_and_mended(
    owner: asyncpg.Connection, built_expected: ExpectedTenants, case: str
) -> None:
    change = CHANGES[case]
    await owner.execute(change.sql)
    assert change.named in names(await examined(owner, built_expected))
    repair = await mending.mend(owner, built_expected, ACME)
    assert_whole(repair)
    assert change.named in {str(drift) for drifts in repair.mended().values() for drift in drifts}
    assert (await examined(owner, built_expected)).ok
