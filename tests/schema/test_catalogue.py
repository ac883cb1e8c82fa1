"""Comparing a tenant with what the files say: nothing that matters goes unseen, and nothing else is seen."""

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


CHANGES: dict[str, tuple[str, Difference]] = {
    "an index dropped": (
        "DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status",
        Difference(missing=("index budgets.idx_acme_corp_budgets_status",)),
    ),
    "an index added": (
        "CREATE INDEX more ON bf_acme_corp.budgets (id)",
        Difference(extra=("index budgets.more", "relation more")),
    ),
    "another index under the name": (
        "DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status; "
        "CREATE INDEX idx_acme_corp_budgets_status ON bf_acme_corp.budgets (is_deleted, status)",
        Difference(altered=("index budgets.idx_acme_corp_budgets_status",)),
    ),
    "an index that is invalid": (
        "UPDATE pg_index SET indisvalid = false "
        "WHERE indexrelid = 'bf_acme_corp.idx_acme_corp_budgets_status'::regclass",
        Difference(altered=("index budgets.idx_acme_corp_budgets_status",)),
    ),
    "a policy dropped": (
        "DROP POLICY audit_access_budgets ON bf_acme_corp.budgets",
        Difference(missing=("policy budgets.audit_access_budgets",)),
    ),
    "a policy added": (
        "CREATE POLICY more ON bf_acme_corp.budgets USING (true)",
        Difference(extra=("policy budgets.more",)),
    ),
    "a policy for another role": (
        "ALTER POLICY audit_access_budgets ON bf_acme_corp.budgets TO app_role",
        Difference(altered=("policy budgets.audit_access_budgets",)),
    ),
    "a policy that lets more through": (
        "ALTER POLICY tenant_isolation_budgets ON bf_acme_corp.budgets WITH CHECK (true)",
        Difference(altered=("policy budgets.tenant_isolation_budgets",)),
    ),
    "row-level security off": (
        "ALTER TABLE bf_acme_corp.budgets DISABLE ROW LEVEL SECURITY",
        Difference(altered=("relation budgets",)),
    ),
    "row-level security not forced": (
        "ALTER TABLE bf_acme_corp.budgets NO FORCE ROW LEVEL SECURITY",
        Difference(altered=("relation budgets",)),
    ),
    "a column added": (
        "ALTER TABLE bf_acme_corp.budgets ADD COLUMN more text",
        Difference(extra=("column budgets.more",)),
    ),
    "a column added and dropped again": (
        "ALTER TABLE bf_acme_corp.budgets ADD COLUMN more text; ALTER TABLE bf_acme_corp.budgets DROP COLUMN more",
        Difference(),
    ),
    "another default": (
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN status SET DEFAULT 'final'",
        Difference(altered=("column budgets.status",)),
    ),
    "another type": (
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_code TYPE varchar(60)",
        Difference(altered=("column budgets.budget_code",)),
    ),
    "nullable": (
        "ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_name DROP NOT NULL",
        Difference(altered=("column budgets.budget_name",)),
    ),
    "a constraint dropped": (
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check",
        Difference(missing=("constraint budgets.budgets_tenant_check",)),
    ),
    "a constraint pinned to another tenant": (
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check, "
        "ADD CONSTRAINT budgets_tenant_check CHECK (tenant_id = 'acme')",
        Difference(altered=("constraint budgets.budgets_tenant_check",)),
    ),
    "a constraint not validated": (
        "ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_tenant_check, "
        "ADD CONSTRAINT budgets_tenant_check CHECK (tenant_id = 'acme_corp') NOT VALID",
        Difference(altered=("constraint budgets.budgets_tenant_check",)),
    ),
    "a foreign key dropped": (
        "ALTER TABLE bf_acme_corp.budget_lines DROP CONSTRAINT budget_lines_budget_id_fkey",
        Difference(missing=("constraint budget_lines.budget_lines_budget_id_fkey",)),
    ),
    "a trigger disabled": (
        "ALTER TABLE bf_acme_corp.budgets DISABLE TRIGGER touch_row",
        Difference(altered=("trigger budgets.touch_row",)),
    ),
    "a trigger dropped": (
        "DROP TRIGGER touch_row ON bf_acme_corp.budgets",
        Difference(missing=("trigger budgets.touch_row",)),
    ),
    "a grant too many": (
        "GRANT TRUNCATE ON bf_acme_corp.budgets TO app_role",
        Difference(extra=("relation grant budgets TRUNCATE to app_role",)),
    ),
    "a grant too few": (
        "REVOKE DELETE ON bf_acme_corp.budgets FROM app_role",
        Difference(missing=("relation grant budgets DELETE to app_role",)),
    ),
    "a grant to all": (
        "GRANT SELECT ON bf_acme_corp.budgets TO PUBLIC",
        Difference(extra=("relation grant budgets SELECT to public",)),
    ),
    "a grant that can be handed on": (
        "GRANT SELECT ON bf_acme_corp.budgets TO audit_role WITH GRANT OPTION",
        Difference(
            missing=("relation grant budgets SELECT to audit_role",),
            extra=("relation grant budgets SELECT to audit_role with grant option",),
        ),
    ),
    "a grant of a column": (
        "GRANT REFERENCES (id) ON bf_acme_corp.budgets TO app_role",
        Difference(extra=("column grant budgets.id REFERENCES to app_role",)),
    ),
    "a grant on the schema": (
        "GRANT CREATE ON SCHEMA bf_acme_corp TO app_role",
        Difference(extra=("schema grant  CREATE to app_role",)),
    ),
    "a view added": (
        "CREATE VIEW bf_acme_corp.more AS SELECT 1 AS one",
        Difference(
            extra=(
                "column more.one",
                "relation grant more DELETE to postgres",
                "relation grant more INSERT to postgres",
            )
        ),
    ),
    "a function added": (
        "CREATE FUNCTION bf_acme_corp.more() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
        Difference(extra=("function grant more() EXECUTE to postgres", "function grant more() EXECUTE to public")),
    ),
    "a type added": ("CREATE TYPE bf_acme_corp.more AS ENUM ('a')", Difference(extra=("type more",))),
}


@pytest.mark.parametrize("case", CHANGES)
async def test_a_change_is_seen_and_named(
    admin: asyncpg.Connection, built_expected: ExpectedTenants, case: str
) -> None:
    change, expected = CHANGES[case]
    await admin.execute(change)
    found = await compare(admin, built_expected)
    assert found.missing == expected.missing
    assert found.altered == expected.altered
    if case in {"an index added", "a view added", "a function added", "a type added"}:
        assert found.extra
        assert all("more" in name for name in found.extra)
        assert set(expected.extra) - {"relation more"} <= set(found.extra)
    else:
        assert found.extra == expected.extra
    assert found.ok == (expected == Difference())


async def test_another_owner_is_seen(admin: asyncpg.Connection, built_expected: ExpectedTenants) -> None:
    await admin.execute("ALTER TABLE bf_acme_corp.budgets OWNER TO postgres")
    assert "relation budgets" in (await compare(admin, built_expected)).altered
    await admin.execute("ALTER SCHEMA bf_acme_corp OWNER TO postgres")
    assert "schema" in (await compare(admin, built_expected)).altered


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
