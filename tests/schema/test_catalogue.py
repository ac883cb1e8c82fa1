"""Comparing a tenant with what the files say: nothing that matters goes unseen, and nothing else is seen."""

from typing import NamedTuple

import asyncpg
import pytest

from app.db.pool import Database
from app.schema import catalogue
from app.schema.catalogue import Difference
from app.schema.expected import ExpectedTenants
from tests.schema.support import LONGEST
from tests.support.data import LATEST


async def compare(
    admin: asyncpg.Connection, expected: ExpectedTenants, tenant_id: str = "acme_corp", schema: str | None = None
) -> Difference:
    async with admin.transaction():
        return await expected.difference(
            admin, tenant_id=tenant_id, schema_name=schema or f"bf_{tenant_id}", version=LATEST
        )


@pytest.mark.parametrize("tenant_id", ["acme_corp", LONGEST])
async def test_a_tenant_made_by_the_migrations_is_as_expected(
    admin: asyncpg.Connection, built_expected: ExpectedTenants, tenant_id: str
) -> None:
    difference = await compare(admin, built_expected, tenant_id)
    assert difference.ok
    assert difference.summary() == "nothing"
    async with admin.transaction():
        assert len(await catalogue.read(admin, f"bf_{tenant_id}") or ()) > 400


class Named(NamedTuple):
    """The objects of a difference."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()

    @classmethod
    def of(cls, found: Difference) -> "Named":
        return cls(*(tuple(map(str, objects)) for objects in (found.missing, found.extra, found.altered)))


CHANGES: dict[str, tuple[str, Named]] = {
    "an index dropped": (
        "DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status",
        Named(missing=("index budgets.idx_acme_corp_budgets_status",)),
    ),
    "an index added": (
        "CREATE INDEX more ON bf_acme_corp.budgets (id)",
        Named(extra=("index budgets.more", "relation more")),
    ),
    "another index under the name": (
        "DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status; "
        "CREATE INDEX idx_acme_corp_budgets_status ON bf_acme_corp.budgets (is_deleted, status)",
        Named(altered=("index budgets.idx_acme_corp_budgets_status",)),
    ),
    "an index that is invalid": (
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'bf_acme_corp.idx_acme_corp_budgets_status'::regclass",
        Named(altered=("index budgets.idx_acme_corp_budgets_status",)),
    ),
    "a policy dropped": (
        "DROP POLICY audit_access_budgets ON bf_acme_corp.budgets",
        Named(missing=("policy budgets.audit_access_budgets",)),
    ),
    "a policy added": (
        "CREATE POLICY more ON bf_acme_corp.budgets USING (true)",
        Named(extra=("policy budgets.more",)),
    ),
    "a policy for another role": (
        "ALTER POLICY audit_access_budgets ON bf_acme_corp.budgets TO app_role",
        Named(altered=("policy budgets.audit_access_budgets",)),
    ),
    "a policy that lets more through": (
        "ALTER POLICY tenant_isolation_budgets ON bf_acme_corp.budgets WITH CHECK (true)",
        Named(altered=("policy budgets.tenant_isolation_budgets",)),
    ),
    "row-level security off": (
        "ALTER TABLE bf_acme_corp.budgets DISABLE ROW LEVEL SECURITY",
        Named(altered=("relation budgets",)),
    ),
    "row-level security not forced": (
        "ALTER TABLE bf_acme_corp.budgets NO FORCE ROW LEVEL SECURITY",
        Named(altered=("relation budgets",)),
    ),
    "a column added": (
        "ALTER TABLE bf_acme_corp.budgets ADD COLUMN more text",
        Named(extra=("column budgets.more",)),
    ),
    "a column added and dropped again": (
        "ALTER TABLE bf_acme_corp.budgets ADD COLUMN more text; ALTER TABLE bf_acme_corp.budgets DROP COLUMN more",
        Named(),
    ),
    "another default": (
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN status SET DEFAULT 'final'",
        Named(altered=("column budgets.status",)),
    ),
    "another type": (
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_code TYPE varchar(60)",
        Named(altered=("column budgets.budget_code",)),
    ),
    "nullable": (
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_name DROP NOT NULL",
        Named(altered=("column budgets.budget_name",)),
    ),
    "a constraint dropped": (
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check",
        Named(missing=("constraint budgets.budgets_tenant_check",)),
    ),
    "a constraint pinned to another tenant": (
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check, "
        "ADD CONSTRAINT budgets_tenant_check CHECK (tenant_id = 'acme')",
        Named(altered=("constraint budgets.budgets_tenant_check",)),
    ),
    "a constraint not validated": (
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check, "
        "ADD CONSTRAINT budgets_tenant_check CHECK (tenant_id = 'acme_corp') NOT VALID",
        Named(altered=("constraint budgets.budgets_tenant_check",)),
    ),
    "a foreign key dropped": (
        "ALTER TABLE bf_acme_corp.budget_lines DROP CONSTRAINT budget_lines_budget_id_fkey",
        Named(missing=("constraint budget_lines.budget_lines_budget_id_fkey",)),
    ),
    "a trigger disabled": (
        "ALTER TABLE bf_acme_corp.budgets DISABLE TRIGGER touch_row",
        Named(altered=("trigger budgets.touch_row",)),
    ),
    "a trigger dropped": (
        "DROP TRIGGER touch_row ON bf_acme_corp.budgets",
        Named(missing=("trigger budgets.touch_row",)),
    ),
    "a grant too many": (
        "GRANT TRUNCATE ON bf_acme_corp.budgets TO app_role",
        Named(extra=("relation grant budgets TRUNCATE to app_role",)),
    ),
    "a grant too few": (
        "REVOKE DELETE ON bf_acme_corp.budgets FROM app_role",
        Named(missing=("relation grant budgets DELETE to app_role",)),
    ),
    "a grant to all": (
        "GRANT SELECT ON bf_acme_corp.budgets TO PUBLIC",
        Named(extra=("relation grant budgets SELECT to public",)),
    ),
    "a grant that can be handed on": (
        "GRANT SELECT ON bf_acme_corp.budgets TO audit_role WITH GRANT OPTION",
        Named(
            missing=("relation grant budgets SELECT to audit_role",),
            extra=("relation grant budgets SELECT to audit_role with grant option",),
        ),
    ),
    "a grant of a column": (
        "GRANT REFERENCES (id) ON bf_acme_corp.budgets TO app_role",
        Named(extra=("column grant budgets.id REFERENCES to app_role",)),
    ),
    "a grant on the schema": (
        "GRANT CREATE ON SCHEMA bf_acme_corp TO app_role",
        Named(extra=("schema grant  CREATE to app_role",)),
    ),
    "a view added": (
        "CREATE VIEW bf_acme_corp.more AS SELECT 1 AS one",
        Named(
            extra=(
                "column more.one",
                "relation grant more DELETE to postgres",
                "relation grant more INSERT to postgres",
            )
        ),
    ),
    "a function added": (
        "CREATE FUNCTION bf_acme_corp.more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        Named(extra=("function grant more() EXECUTE to postgres", "function grant more() EXECUTE to public")),
    ),
    "a rule added": (
        "CREATE RULE more AS ON DELETE TO bf_acme_corp.budgets DO ALSO NOTHING",
        Named(extra=("rule budgets.more",)),
    ),
    "inherited by another table": (
        "CREATE TABLE public.more () INHERITS (bf_acme_corp.budgets)",
        Named(altered=("relation budgets",)),
    ),
    "a foreign key that is not enforced": (
        "ALTER TABLE bf_acme_corp.budget_lines DISABLE TRIGGER ALL; "
        "ALTER TABLE bf_acme_corp.budget_lines ENABLE TRIGGER USER",
        Named(altered=("constraint budget_lines.budget_lines_budget_id_fkey",)),
    ),
    "default privileges in the schema": (
        "ALTER DEFAULT PRIVILEGES IN SCHEMA bf_acme_corp GRANT SELECT ON TABLES TO app_role",
        Named(extra=("object default privileges on new relations belonging to role postgres in schema bf_acme_corp",)),
    ),
    "an option of a table": (
        "ALTER TABLE bf_acme_corp.budgets SET (fillfactor = 70)",
        Named(altered=("relation budgets",)),
    ),
    "unlogged": (
        "ALTER TABLE bf_acme_corp.forecast_data_points SET UNLOGGED",
        Named(altered=("relation forecast_data_points",)),
    ),
    "a type added": ("CREATE TYPE bf_acme_corp.more AS ENUM ('a')", Named(extra=("type more",))),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_a_change_is_seen_and_named(
    admin: asyncpg.Connection, built_expected: ExpectedTenants, case: str
) -> None:
    change, expected = CHANGES[case]
    await admin.execute(change)
    difference = await compare(admin, built_expected)
    found = Named.of(difference)
    assert found.missing == expected.missing
    assert found.altered == expected.altered
    if case in {"an index added", "a view added", "a function added", "a type added"}:
        assert found.extra
        assert all("more" in name for name in found.extra)
        assert set(expected.extra) - {"relation more"} <= set(found.extra)
    else:
        assert found.extra == expected.extra
    assert difference.ok == (expected == Named())


async def test_another_owner_is_seen(admin: asyncpg.Connection, built_expected: ExpectedTenants) -> None:
    await admin.execute("ALTER TABLE bf_acme_corp.budgets OWNER TO postgres")
    assert "relation budgets" in Named.of(await compare(admin, built_expected)).altered
    await admin.execute("ALTER SCHEMA bf_acme_corp OWNER TO postgres")
    assert "schema" in Named.of(await compare(admin, built_expected)).altered


async def test_a_schema_that_is_not_there_misses_everything(
    admin: asyncpg.Connection, built_expected: ExpectedTenants
) -> None:
    assert await catalogue.read(admin, "bf_nobody") is None
    difference = await compare(admin, built_expected, "nobody")
    assert len(difference.missing) > 300
    assert not difference.extra
    assert "and " in difference.summary()


async def test_building_what_is_expected_leaves_nothing_behind(
    admin: asyncpg.Connection, built_database: Database, built_expected: ExpectedTenants
) -> None:
    everything = "SELECT (SELECT count(*) FROM pg_class), (SELECT array_agg(nspname ORDER BY 1) FROM pg_namespace)"
    before = tuple(await admin.fetchrow(everything))
    built_expected.forget()
    await built_expected.prepare(LATEST)
    assert tuple(await admin.fetchrow(everything)) == before


async def test_a_verification_scans_no_catalogue(admin: asyncpg.Connection) -> None:
    """Every tenant's share of it: with a thousand of them that takes longer than all the rest."""
    for statement, kinds in ((catalogue._FINGERPRINTS, ""), (catalogue._LINES, ", NULL")):
        async with admin.transaction():
            await admin.execute(catalogue._PREPARE)
            await admin.execute(f"PREPARE found AS {statement}")
            plan = [row[0] for row in await admin.fetch(f"EXPLAIN EXECUTE found('bf_acme_corp'{kinds})")]
            await admin.execute("DEALLOCATE found")
        assert any("pg_class_oid_index" in line for line in plan)
        assert not [line for line in plan if "Seq Scan on pg_" in line]
