"""The BF_* settings of the guide, one by one and together: what they change, and nothing else."""

from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from app.errors import DatabaseError
from app.schema import downgrade, files, startup
from app.schema.script import MigrationFileError, Target, quote_ident
from tests.schema.support import OTHERS, Site
from tests.support.api import running_api
from tests.support.data import settings_for
from tests.support.processes import bf_admin, environment

TABLES = ("budgets", "budget_lines", "forecasts", "forecast_data_points", "variance_analysis", "scenarios")
HOSTILE = Target(shared_schema='My "Shared', app_role="App Role's", audit_role="Audit-Rôle %I")
MATRIX = {
    "the guide's": Target(),
    "other names": Target(shared_schema="finance", app_role="finance_app", audit_role="finance_audit"),
    "hostile names": HOSTILE,
    "reserved words": Target(shared_schema="select", app_role="table", audit_role="order"),
    "backslashes and placeholders": Target(
        shared_schema="a\\b{{app_role}}", app_role="x\\1y", audit_role="%s :pending"
    ),
    "the longest names": Target(shared_schema="s" * 63, app_role="a" * 63, audit_role="b" * 63),
    "names with line breaks": Target(shared_schema="two\nlines", app_role="$1", audit_role="$function$"),
    "no default data": Target(insert_default_data=False),
    "no RLS": Target(enable_rls=False),
    "roles that exist": Target(create_roles=False),
    "everything otherwise": replace(HOSTILE, create_roles=False, insert_default_data=False, enable_rls=False),
}

DATA = """
SELECT (SELECT count(*) FROM {0}.account_categories), (SELECT count(*) FROM {0}.budget_templates),
       (SELECT count(*) FROM {0}.currency_rates)
"""
RLS = """
SELECT c.relname::text, c.relrowsecurity, c.relforcerowsecurity,
       (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid)
  FROM pg_class c WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r' ORDER BY 1
"""
POLICY_ROLES = """
SELECT DISTINCT r.rolname::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid, unnest(p.polroles) AS u(role)
  JOIN pg_roles r ON r.oid = u.role WHERE c.relnamespace = 'bf_acme'::regnamespace ORDER BY 1
"""
GRANTEES = """
SELECT DISTINCT pg_get_userbyid(a.grantee)::text FROM pg_class c, aclexplode(c.relacl) a
 WHERE c.relnamespace = 'bf_acme'::regnamespace AND a.grantee <> c.relowner ORDER BY 1
"""
MAY_CREATE_TABLES = "SELECT has_schema_privilege($1, 'bf_acme', 'CREATE')"


async def make_roles(site: Site, target: Target) -> None:
    """As a DBA who lets nobody else make roles, but lets the migration user be them."""
    for name in (target.app_role, target.audit_role):
        await site.execute(f"CREATE ROLE {quote_ident(name)} NOLOGIN; GRANT {quote_ident(name)} TO bf_migrator")


@pytest.mark.parametrize("case", MATRIX)
async def test_a_tenant_under_these_settings(site: Site, case: str) -> None:
    target = MATRIX[case]
    if not target.create_roles:
        await make_roles(site, target)
        await site.execute("ALTER ROLE bf_migrator NOCREATEROLE")
    try:
        await site.upgrade(target)
    finally:
        await site.execute("ALTER ROLE bf_migrator CREATEROLE")
    again = await site.upgrade(target)
    assert again.applied == []
    await site.setup("acme", shared=target.shared_schema)

    assert await site.schemas() == sorted(["bf_acme", "bf_control", "bf_queue", target.shared_schema])
    assert await site.roles() == sorted([target.app_role, target.audit_role])
    shared = quote_ident(target.shared_schema)
    assert await site.rows(DATA.format(shared)) == [(9, 1, 5) if target.insert_default_data else (0, 0, 0)]
    rls = target.enable_rls
    assert await site.rows(RLS, "bf_acme") == sorted((table, rls, rls, 2 if rls else 0) for table in TABLES)
    assert await site.rows(RLS, shared) == [
        ("account_categories", False, False, 0),
        ("budget_templates", rls, False, 5 if rls else 0),
        ("currency_rates", False, False, 0),
        ("industry_benchmarks", False, False, 0),
        ("tenant_config", rls, False, 2 if rls else 0),
    ]
    roles = sorted((role,) for role in (target.app_role, target.audit_role))
    assert sorted(await site.rows(POLICY_ROLES)) == (roles if rls else [])
    assert sorted(await site.rows(GRANTEES)) == roles
    assert await site.value(MAY_CREATE_TABLES, target.app_role) is False
    assert await stored_settings(site) == target.settings()
    await check_functions(site, target)


async def stored_settings(site: Site) -> dict[str, str]:
    rows: dict[str, str] = dict(await site.rows("SELECT name, value FROM bf_control.setting"))
    return rows


async def check_functions(site: Site, target: Target) -> None:
    """What an application and an operator call, under whatever name the schema has."""
    shared = quote_ident(target.shared_schema)
    async with site.connect(site.cluster.superuser_dsn(site.name)) as conn:
        async with conn.transaction():
            await conn.execute(f"SET LOCAL ROLE {quote_ident(target.app_role)}")
            await conn.execute(f"SELECT {shared}.set_tenant_context('acme', 'u1')")
            path = await conn.fetchval("SELECT current_schemas(false)::text[]")
            assert path == ["bf_acme", target.shared_schema]
            await conn.execute(
                "INSERT INTO budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, "
                "budget_period_end) VALUES ('b', 'b', 'annual', 2025, '2025-01-01', '2025-12-31')"
            )
            assert await conn.fetchval("SELECT created_by FROM budgets") == "u1"
            assert await conn.fetchval("SELECT tenant_id FROM tenant_config") == "acme"
        await conn.execute("DROP INDEX bf_acme.idx_acme_budgets_status")
        await conn.execute(f"SELECT {shared}.create_tenant_indexes('acme')")
        assert await conn.fetchval("SELECT to_regclass('bf_acme.idx_acme_budgets_status') IS NOT NULL")
        repair = f"SELECT {shared}.create_tenant_rls_policies('acme')"
        if target.enable_rls:
            await conn.execute(repair)
        else:
            with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="BF_ENABLE_RLS=false"):
                await conn.execute(repair)
        await conn.execute(f"SELECT {shared}.insert_default_data()")
        assert tuple(await conn.fetchrow(DATA.format(shared))) == (9, 1, 5)


@pytest.mark.parametrize("case", ["hostile names", "everything otherwise", "backslashes and placeholders"])
async def test_a_downgrade_under_these_settings(site: Site, case: str) -> None:
    target = MATRIX[case]
    await site.execute(OTHERS)
    before = await site.schemas()
    if not target.create_roles:
        await make_roles(site, target)
    await site.upgrade(target)
    await site.setup("acme", shared=target.shared_schema)
    async with site.database() as database:
        outcome = await downgrade.run(database, target)
    assert outcome.tenants == ["acme"]
    assert await site.schemas() == before
    # What a DBA made stays.
    assert await site.roles() == ([] if target.create_roles else sorted([target.app_role, target.audit_role]))


async def test_missing_roles_are_refused_with_the_mend_where_none_may_be_created(site: Site) -> None:
    target = Target(create_roles=False, app_role="App Role")
    await site.execute("CREATE ROLE audit_role")
    with pytest.raises(DatabaseError, match='role "App Role" does not exist, and BF_CREATE_ROLES is false') as info:
        await site.upgrade(target)
    assert info.value.hint == 'CREATE ROLE "App Role" NOLOGIN; or set BF_CREATE_ROLES=true'
    assert await site.schemas() == []
    assert await site.roles() == ["audit_role"]
    finished = await bf_admin("upgrade", env=environment(site.dsn, BF_CREATE_ROLES="false", BF_APP_ROLE="App Role"))
    assert finished.code == 1
    assert 'CREATE ROLE "App Role" NOLOGIN; or set BF_CREATE_ROLES=true' in finished.stderr


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
@pytest.mark.parametrize("role", ["app_role", "audit_role"])
async def test_a_role_that_bypasses_row_level_security_is_refused(site: Site, role: str, attribute: str) -> None:
    await site.execute(f"CREATE ROLE {role} {attribute}")
    with pytest.raises(DatabaseError, match=f"role {role} would bypass row-level security") as info:
        await site.upgrade()
    assert info.value.hint == f"ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS; or choose another role"
    assert await site.schemas() == []


def test_one_role_for_applications_and_audit_is_refused() -> None:
    """With the audit role's policy every application would read every tenant."""
    with pytest.raises(MigrationFileError, match="BF_APP_ROLE and BF_AUDIT_ROLE name one role"):
        files.target(settings_for("postgresql://nobody@localhost/none", app_role="one", audit_role="one"))


@pytest.mark.parametrize("target", [Target(app_role="bf_migrator"), Target(audit_role="bf_migrator")])
async def test_the_owner_cannot_be_one_of_the_roles(site: Site, target: Target) -> None:
    with pytest.raises(DatabaseError, match="role bf_migrator is or may become bf_migrator, the owner"):
        await site.upgrade(target)
    assert await site.schemas() == []


async def test_a_role_that_may_become_the_owner_is_refused(site: Site) -> None:
    await site.execute("CREATE ROLE app_role; GRANT bf_migrator TO app_role")
    with pytest.raises(DatabaseError, match="role app_role is or may become bf_migrator"):
        await site.upgrade()


async def test_an_application_role_that_may_become_the_audit_role_is_refused(site: Site) -> None:
    await site.execute("CREATE ROLE app_role; CREATE ROLE staff; CREATE ROLE audit_role")
    await site.execute("GRANT audit_role TO staff; GRANT staff TO app_role")
    with pytest.raises(DatabaseError, match="role app_role is a member of audit_role, and would read every") as info:
        await site.upgrade()
    assert info.value.hint == "REVOKE audit_role FROM app_role; or choose another role"
    assert await site.schemas() == []


@pytest.mark.parametrize("name", ["bf_control", "bf_queue", "public", "information_schema"])
async def test_a_shared_schema_that_is_there_already_is_refused(site: Site, name: str) -> None:
    with pytest.raises(DatabaseError, match="already exists"):
        await site.upgrade(Target(shared_schema=name))
    assert await site.schemas() == []


async def test_a_tenant_cannot_take_the_name_of_the_shared_schema(site: Site) -> None:
    await site.upgrade(Target(shared_schema="bf_acme"))
    with pytest.raises(asyncpg.DuplicateSchemaError, match="bf_acme exists, but belongs to no tenant"):
        await site.setup("acme", shared="bf_acme")


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (Target(shared_schema="finance"), "BF_SCHEMA_NAME is finance here, and bf_shared in the database"),
        (Target(app_role="other_app"), "BF_APP_ROLE is other_app here, and app_role in the database"),
        (Target(audit_role="other_audit"), "BF_AUDIT_ROLE is other_audit here, and audit_role in the database"),
        (Target(enable_rls=False), "BF_ENABLE_RLS is false here, and true in the database"),
    ],
)
async def test_other_settings_than_the_database_was_made_with_are_refused_by_name(
    site: Site, other: Target, named: str
) -> None:
    await site.upgrade()
    with pytest.raises(DatabaseError, match=named):
        await site.upgrade(other)
    async with site.database() as database:
        with pytest.raises(DatabaseError, match=named):
            await startup.prepare(database, files.migrations(), other)
        with pytest.raises(DatabaseError, match=named):
            await downgrade.run(database, other)
    assert await site.schemas() == ["bf_control", "bf_queue", "bf_shared"]


async def test_what_an_upgrade_does_once_may_differ_later(site: Site) -> None:
    await site.upgrade()
    assert (await site.upgrade(Target(create_roles=False, insert_default_data=False))).applied == []


async def test_the_service_and_the_command_line_read_the_same_variables(site: Site, tmp_path: Path) -> None:
    variables = {
        "BF_SCHEMA_NAME": HOSTILE.shared_schema,
        "BF_APP_ROLE": HOSTILE.app_role,
        "BF_AUDIT_ROLE": HOSTILE.audit_role,
        "BF_INSERT_DEFAULT_DATA": "false",
        "BF_ENABLE_RLS": "false",
    }
    env = environment(site.dsn, **variables)
    finished = await bf_admin("upgrade", env=env)
    assert finished.code == 0, finished.stderr
    assert await stored_settings(site) == replace(HOSTILE, insert_default_data=False, enable_rls=False).settings()
    finished = await bf_admin("create-tenant", "--tenant-id", "acme", "--tenant-name", "ACME", env=env)
    assert finished.code == 0, finished.stderr

    fields = {name.removeprefix("BF_").lower(): value for name, value in variables.items()}
    settings = site.settings(**fields, bootstrap_admin_key_file=tmp_path / "key")
    async with running_api(settings, with_worker=True) as api:
        assert (await api.provision("zeta")).status_code == 201
        listed = (await api.client.get("/v1/tenants")).json()
    assert {tenant["tenant_id"]: tenant["state"] for tenant in listed["items"]} == {"acme": "active", "zeta": "active"}
