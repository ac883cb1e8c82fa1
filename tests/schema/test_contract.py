"""The catalogue of a migrated database and of its tenants, against contract/database.md."""

import re
from decimal import Decimal
from typing import TypeAlias

import asyncpg
import pytest

from tests.schema import expectations
from tests.schema.expectations import TENANT_TABLES
from tests.schema.support import LONGEST, refused
from tests.support.cluster import MIGRATION_USER

SHORT = {
    "character varying": "varchar",
    "timestamp with time zone": "timestamptz",
}
CAST = re.compile(r"::(?:character varying|timestamp with time zone|\w+)(?:\(\d+\))?(?:\[\])?")
Column: TypeAlias = tuple[str, str, str, str | None]

COLUMNS = """
SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, pg_get_expr(d.adbin, d.adrelid),
       a.attidentity <> '' OR a.attgenerated <> ''
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1::text::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
TABLES = """
SELECT c.relname::text FROM pg_class c
 WHERE c.relnamespace = $1::text::regnamespace AND c.relkind NOT IN ('i', 'I') ORDER BY 1
"""
INDEXES = """
SELECT t.relname::text, i.relname::text, x.indisunique, x.indisprimary,
       (SELECT string_agg(a.attname::text, ', ' ORDER BY k.n)
          FROM unnest(x.indkey::smallint[]) WITH ORDINALITY AS k(num, n)
          JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.num) AS columns
  FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
 WHERE t.relnamespace = $1::text::regnamespace AND x.indisvalid AND x.indpred IS NULL AND x.indexprs IS NULL
"""
FOREIGN_KEYS = """
SELECT t.relname::text, a.attname::text, f.relname::text
  FROM pg_constraint k JOIN pg_class t ON t.oid = k.conrelid JOIN pg_class f ON f.oid = k.confrelid
  JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = k.conkey[1]
 WHERE k.contype = 'f' AND k.connamespace = $1::text::regnamespace AND cardinality(k.conkey) = 1
   AND f.relnamespace = t.relnamespace AND k.convalidated
"""
GRANTS = """
SELECT c.relname::text, pg_get_userbyid(a.grantee)::text, array_agg(a.privilege_type ORDER BY a.privilege_type)
  FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
 WHERE c.relnamespace = $1::text::regnamespace AND c.relkind IN ('r', 'v', 'm', 'S') AND a.grantee <> c.relowner
 GROUP BY 1, 2
"""
COLUMN_GRANTS = """
SELECT c.relname || '.' || a.attname, x.privilege_type, pg_get_userbyid(x.grantee)::text
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid, aclexplode(a.attacl) x
 WHERE c.relnamespace = $1::text::regnamespace
"""
SCHEMA_GRANTS = """
SELECT pg_get_userbyid(a.grantee)::text, a.privilege_type FROM pg_namespace n, aclexplode(n.nspacl) a
 WHERE n.nspname = $1 AND a.grantee <> n.nspowner
"""
POLICIES = """
SELECT c.relname::text, p.polname::text, p.polcmd::text, p.polpermissive, p.polroles::regrole[]::text[],
       pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
  FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid WHERE c.relnamespace = $1::text::regnamespace
"""
FUNCTIONS = """
SELECT p.oid::regprocedure::text AS signature, p.proname::text AS name, p.prorettype::regtype::text AS returns,
       p.prosecdef AS definer, p.proconfig AS config, p.prorettype = 'trigger'::regtype AS is_trigger,
       ARRAY(SELECT coalesce(r.rolname::text, 'public')
               FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
               LEFT JOIN pg_roles r ON r.oid = a.grantee
              WHERE a.grantee <> p.proowner ORDER BY 1) AS callers
  FROM pg_proc p WHERE p.pronamespace = $1::text::regnamespace
"""
OWNERS = """
SELECT DISTINCT pg_get_userbyid(o.owner)::text FROM (
    SELECT nspowner FROM pg_namespace WHERE nspname ~ '^bf_'
    UNION ALL SELECT relowner FROM pg_class WHERE relnamespace::regnamespace::text ~ '^bf_'
    UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace::regnamespace::text ~ '^bf_'
    UNION ALL SELECT typowner FROM pg_type WHERE typnamespace::regnamespace::text ~ '^bf_') AS o(owner)
"""


def columns(text: str) -> set[Column]:
    found: set[Column] = set()
    for line in text.strip().splitlines():
        name, kind, null, default = (*re.split(r" {2,}", line.strip()), None)[:4]
        assert name
        assert null in {"null", "not null"}, line
        found.add((name, str(kind), str(null), default))
    return found


async def actual_columns(admin: asyncpg.Connection, table: str) -> set[Column]:
    found: set[Column] = set()
    for name, kind, not_null, default, computed in await admin.fetch(COLUMNS, table):
        assert not computed
        for long, short in SHORT.items():
            kind = kind.replace(long, short)
        if default is not None:
            default = "context" if "current_setting" in default else CAST.sub("", default)
        found.add((name, kind, "not null" if not_null else "null", default))
    return found


# tables -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TENANT_TABLES)
async def test_a_tenants_table_has_these_columns_and_no_others(admin: asyncpg.Connection, table: str) -> None:
    expected = columns(TENANT_TABLES[table]) | columns(expectations.EVERY_TENANT_TABLE)
    assert await actual_columns(admin, f"bf_acme_corp.{table}") == expected


@pytest.mark.parametrize("table", expectations.SHARED_TABLES)
async def test_a_shared_table_has_these_columns_and_no_others(admin: asyncpg.Connection, table: str) -> None:
    assert await actual_columns(admin, f"bf_shared.{table}") == columns(expectations.SHARED_TABLES[table])


async def test_the_schemas_hold_these_tables_and_no_others(admin: asyncpg.Connection) -> None:
    assert [row[0] for row in await admin.fetch(TABLES, "bf_acme_corp")] == sorted(TENANT_TABLES)
    assert [row[0] for row in await admin.fetch(TABLES, "bf_shared")] == sorted(expectations.SHARED_TABLES)


async def test_primary_keys(admin: asyncpg.Connection) -> None:
    rows = [row for schema in ("bf_acme_corp", "bf_shared") for row in await admin.fetch(INDEXES, schema)]
    assert {row[0]: row["columns"] for row in rows if row["indisprimary"]} == expectations.PRIMARY_KEYS


async def test_foreign_keys_stay_inside_the_schema(admin: asyncpg.Connection) -> None:
    assert {tuple(row) for row in await admin.fetch(FOREIGN_KEYS, "bf_acme_corp")} == expectations.FOREIGN_KEYS
    every = "SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND connamespace = 'bf_acme_corp'::regnamespace"
    assert await admin.fetchval(every) == len(expectations.FOREIGN_KEYS)


@pytest.mark.parametrize("tenant_id", ["acme_corp", LONGEST])
async def test_indexes_have_the_names_of_the_contract_uncut(admin: asyncpg.Connection, tenant_id: str) -> None:
    rows = await admin.fetch(INDEXES, f"bf_{tenant_id}")
    found = {(row[0], row["columns"], row[1]) for row in rows if not row["indisprimary"]}
    wanted = {(table, cols, f"idx_{tenant_id}_{name}") for table, cols, name in expectations.INDEXES}
    assert wanted <= found
    assert all(len(name.encode()) <= 63 and name.startswith(f"idx_{tenant_id}_") for _, _, name in found)
    assert not any(row["indisunique"] for row in rows if not row["indisprimary"])
    # The others are there for foreign keys that no other index leads with, one for each.
    led = {(table, cols.split(", ")[0]) for table, cols, _ in wanted}
    keys = {(table, column) for table, column, _ in expectations.FOREIGN_KEYS}
    assert {(table, cols) for table, cols, _ in found - wanted} == keys - led


async def test_indexes_of_the_shared_tables(admin: asyncpg.Connection) -> None:
    rows = await admin.fetch(INDEXES, "bf_shared")
    found = {(row[0], row["columns"], row["indisunique"]) for row in rows if not row["indisprimary"]}
    assert found == expectations.SHARED_INDEXES


async def test_everything_belongs_to_the_one_who_upgraded(admin: asyncpg.Connection) -> None:
    assert [row[0] for row in await admin.fetch(OWNERS)] == [MIGRATION_USER]


# row-level security and grants ------------------------------------------------------------------------

CURRENT = r"\(?\(?tenant_id\)?::text = current_setting\('app.current_tenant'::text, true\)\)?"


async def test_both_policies_on_every_table_of_a_tenant(admin: asyncpg.Connection) -> None:
    rows = {(row[0], row[1]): tuple(row)[2:] for row in await admin.fetch(POLICIES, "bf_acme_corp")}
    wanted = {(t, f"tenant_isolation_{t}") for t in TENANT_TABLES} | {(t, f"audit_access_{t}") for t in TENANT_TABLES}
    assert set(rows) == wanted
    for (table, name), (command, permissive, roles, using, check) in rows.items():
        assert permissive
        if name.startswith("tenant_isolation"):
            assert (command, roles) == ("*", ["app_role"]), table
            assert re.fullmatch(CURRENT, using), using
            assert check == using
        else:
            assert (command, roles, using, check) == ("r", ["audit_role"], "true", None), table


async def test_row_level_security_is_enabled_and_forced_on_every_table(admin: asyncpg.Connection) -> None:
    flags = """
    SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c
     WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r'
    """
    assert {tuple(row) for row in await admin.fetch(flags, "bf_acme_corp")} == {(t, True, True) for t in TENANT_TABLES}
    shared = {row[0]: (row[1], row[2]) for row in await admin.fetch(flags, "bf_shared")}
    assert shared["tenant_config"] == (True, False)
    assert shared["budget_templates"] == (True, False)


async def test_grants_on_a_tenant(admin: asyncpg.Connection) -> None:
    crud, read = ["DELETE", "INSERT", "SELECT", "UPDATE"], ["SELECT"]
    wanted = {(t, "app_role"): crud for t in TENANT_TABLES} | {(t, "audit_role"): read for t in TENANT_TABLES}
    assert {(row[0], row[1]): row[2] for row in await admin.fetch(GRANTS, "bf_acme_corp")} == wanted
    assert await admin.fetch(COLUMN_GRANTS, "bf_acme_corp") == []
    usage = {("app_role", "USAGE"), ("audit_role", "USAGE")}
    assert {tuple(row) for row in await admin.fetch(SCHEMA_GRANTS, "bf_acme_corp")} == usage


async def test_grants_on_the_shared_schema(admin: asyncpg.Connection) -> None:
    wanted = {(t, role): ["SELECT"] for t in expectations.SHARED_TABLES for role in ("app_role", "audit_role")}
    wanted["budget_templates", "app_role"] = ["DELETE", "SELECT"]
    assert {(row[0], row[1]): row[2] for row in await admin.fetch(GRANTS, "bf_shared")} == wanted
    writable = {name for name, *_ in columns(expectations.SHARED_TABLES["budget_templates"])}
    writable -= {"is_system", "usage_count"}
    assert {tuple(row) for row in await admin.fetch(COLUMN_GRANTS, "bf_shared")} == {
        (f"budget_templates.{name}", command, "app_role") for name in writable for command in ("INSERT", "UPDATE")
    }
    usage = {("app_role", "USAGE"), ("audit_role", "USAGE")}
    assert {tuple(row) for row in await admin.fetch(SCHEMA_GRANTS, "bf_shared")} == usage


@pytest.mark.parametrize("schema", ["bf_control", "bf_queue"])
async def test_the_services_own_schemas_are_closed(admin: asyncpg.Connection, schema: str) -> None:
    assert await admin.fetch(SCHEMA_GRANTS, schema) == []
    assert await admin.fetch(GRANTS, schema) == []
    assert await admin.fetch(COLUMN_GRANTS, schema) == []
    assert [row["signature"] for row in await admin.fetch(FUNCTIONS, schema) if row["callers"]] == []
    for role in ("app_role", "audit_role"):
        async with refused(admin, asyncpg.InsufficientPrivilegeError):
            await admin.execute(f"SET LOCAL ROLE {role}")
            await admin.execute("TABLE bf_control.tenant" if schema == "bf_control" else "TABLE bf_queue.pgqueuer")


async def test_the_two_roles_have_no_powers_of_their_own(admin: asyncpg.Connection) -> None:
    attributes = """
    SELECT rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication
      FROM pg_roles WHERE rolname IN ('app_role', 'audit_role')
    """
    assert [row[0] for row in await admin.fetch(attributes)] == [False, False]


# functions --------------------------------------------------------------------------------------------


async def test_management_functions(admin: asyncpg.Connection) -> None:
    rows = {row["signature"].removeprefix("bf_shared."): row for row in await admin.fetch(FUNCTIONS, "bf_shared")}
    for signature, returns, definer in expectations.FUNCTIONS:
        assert (rows[signature]["returns"], rows[signature]["definer"]) == (returns, definer), signature
    lookups = {"set_tenant_context", "tenant_schema"}
    for row in rows.values():
        assert row["callers"] == (["app_role"] if row["name"] in lookups else []), row["signature"]
        pinned = "search_path=pg_catalog, pg_temp" in (row["config"] or [])
        assert pinned == (row["name"] != "set_tenant_context"), row["signature"]
        # Who asks whether a tenant is his own asks of himself.
        assert row["definer"] == (pinned and row["name"] != "is_own_tenant"), row["signature"]


async def test_definer_functions_are_pinned_in_every_schema(admin: asyncpg.Connection) -> None:
    rows = [row for schema in ("bf_control", "bf_queue", "bf_shared") for row in await admin.fetch(FUNCTIONS, schema)]
    definers = [row for row in rows if row["definer"]]
    assert {"tenant_config_check", "tenant_config_record", "setup_tenant"} <= {row["name"] for row in definers}
    assert all("search_path=pg_catalog, pg_temp" in (row["config"] or []) for row in definers)


@pytest.mark.parametrize("role", ["app_role", "audit_role"])
async def test_nobody_may_call_a_management_function_unless_granted(admin: asyncpg.Connection, role: str) -> None:
    for call in (
        "setup_tenant('beta', 'Beta', 'x')",
        "create_tenant_rls_policies('acme_corp')",
        "create_tenant_indexes('acme_corp')",
        "insert_default_data()",
        "suspend_tenant('acme_corp')",
        "delete_tenant('acme_corp')",
    ):
        async with refused(admin, asyncpg.InsufficientPrivilegeError):
            await admin.execute(f"SET LOCAL ROLE {role}")
            await admin.execute(f"SELECT bf_shared.{call}")


# reference data ---------------------------------------------------------------------------------------


async def test_the_reference_data(admin: asyncpg.Connection) -> None:
    categories = """
    SELECT c.category_code, c.category_name, c.category_type, p.category_code, c.sort_order
      FROM bf_shared.account_categories c
      LEFT JOIN bf_shared.account_categories p ON p.category_id = c.parent_category_id
    """
    assert {tuple(row) for row in await admin.fetch(categories)} == expectations.CATEGORIES
    assert await admin.fetchval("SELECT bool_and(is_system) FROM bf_shared.account_categories")
    rates = (
        "SELECT from_currency, to_currency, exchange_rate FROM bf_shared.currency_rates WHERE rate_source = 'system'"
    )
    expected = {(a, b, Decimal(rate)) for a, b, rate in expectations.RATES}
    assert {tuple(row) for row in await admin.fetch(rates)} == expected
    template = """
    SELECT template_id, owner_tenant_id, template_name, template_category, is_public, is_system,
           template_data -> 'categories' = '["revenue", "expense"]', template_data -> 'hierarchical' = 'true',
           template_data -> 'periods' = '12'
      FROM bf_shared.budget_templates
    """
    assert [tuple(row) for row in await admin.fetch(template)] == [
        ("template_system_001", "shared", "Standard Annual Budget Template", "Annual", *[True] * 5)
    ]


async def test_inserting_it_again_changes_nothing_and_keeps_what_an_operator_edited(admin: asyncpg.Connection) -> None:
    everything = """
    SELECT to_jsonb(c)::text FROM bf_shared.account_categories c
    UNION ALL SELECT to_jsonb(t)::text FROM bf_shared.budget_templates t
    UNION ALL SELECT to_jsonb(r)::text FROM bf_shared.currency_rates r ORDER BY 1
    """
    await admin.execute("UPDATE bf_shared.account_categories SET category_name = 'Ours' WHERE category_code = 'REV'")
    await admin.execute("UPDATE bf_shared.currency_rates SET exchange_rate = 0.9 WHERE to_currency = 'EUR'")
    await admin.execute("UPDATE bf_shared.budget_templates SET template_data = '{}', is_deleted = true")
    before = await admin.fetch(everything)
    assert len(before) == 15
    for _ in range(2):
        await admin.execute("SELECT bf_shared.insert_default_data()")
        assert await admin.fetch(everything) == before
    await admin.execute("DELETE FROM bf_shared.account_categories WHERE category_code = 'ASSET'")
    await admin.execute("SELECT bf_shared.insert_default_data()")
    assert await admin.fetch(everything) == before
