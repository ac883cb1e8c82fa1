"""Row-level security of a tenant's tables: 6 tables × roles × verbs × contexts, as login users with those roles."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import asyncpg
import pytest

from tests.support.cluster import Cluster
from tests.support.data import make_tenant

_TABLES: Final = ("budgets", "forecasts", "budget_lines", "forecast_data_points", "variance_analysis", "scenarios")
_CHILD: Final = {"budgets": "budget_lines", "forecasts": "forecast_data_points"}
_CONTEXTS: Final = {"unset": None, "empty": "", "own": "acme", "other": "globex"}
_ROLES: Final = ("app_role", "audit_role")
# The outcome of each verb on acme's table, which holds one row: rows seen or changed, or why it is refused.
_DENIED, _POLICY = "42501 permission", "42501 policy"
_APP_OWN: Final = {"select": 1, "insert": 1, "update": 1, "delete": 1, "truncate": _DENIED}
# A row of its own tenant is refused by the policy before the CHECK is asked.
_APP_NONE: Final = {"select": 0, "insert": _POLICY, "update": 0, "delete": 0, "truncate": _DENIED}
_AUDIT: Final = {"select": 1, "insert": _DENIED, "update": _DENIED, "delete": _DENIED, "truncate": _DENIED}
_EXPECTED: Final = {
    ("app_role", "unset"): _APP_NONE,
    ("app_role", "empty"): _APP_NONE,
    ("app_role", "own"): _APP_OWN,
    ("app_role", "other"): _APP_NONE,
    ("audit_role", "unset"): _AUDIT,
    ("audit_role", "empty"): _AUDIT,
    ("audit_role", "own"): _AUDIT,
    ("audit_role", "other"): _AUDIT,
}

# Columns that a row cannot do without, with a value for each type: the row is of whatever tenant $1 names.
_REQUIRED: Final = """
SELECT a.attname, format_type(a.atttypid, NULL) AS type
  FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE a.attrelid = $1::regclass AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
   AND d.oid IS NULL AND a.attname NOT IN ('id', 'tenant_id')
 ORDER BY a.attnum
"""
_VALUES: Final = {
    "character varying": "'x'", "text": "'x'", "integer": "1", "numeric": "1", "date": "'2025-01-01'",
    "jsonb": "'{}'", "boolean": "true", "timestamp with time zone": "now()",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Users:
    """Login users, each a member of one of the roles, with their DSNs."""

    dsns: dict[str, str]


@pytest.fixture
async def users(cluster: Cluster, dsn: str, superuser: asyncpg.Connection) -> AsyncIterator[Users]:
    database, dsns = dsn.rpartition("/")[2], {}
    for role in _ROLES:
        name, password = f"login_{role}_{secrets.token_hex(4)}", secrets.token_hex(8)
        await superuser.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE {role}")
        dsns[role] = cluster.dsn(database, name, password)
    yield Users(dsns)
    for role in _ROLES:
        await superuser.execute(f"DROP ROLE {dsns[role].partition('://')[2].partition(':')[0]}")


async def _insert(conn: asyncpg.Connection, reader: asyncpg.Connection, table: str, tenant: str, row_id: str) -> str:
    """An INSERT that violates no constraint; `reader` may look at the catalogue."""
    columns, values = ["id", "tenant_id"], [f"'{row_id}'", f"'{tenant}'"]
    for row in await reader.fetch(_REQUIRED, f"bf_acme.{table}"):
        columns.append(row["attname"])
        values.append(_value(row["attname"], row["type"]))
    statement = f"INSERT INTO bf_acme.{table} ({', '.join(columns)}) VALUES ({', '.join(values)})"  # noqa: S608
    return await conn.execute(statement)


def _value(column: str, kind: str) -> str:
    if column == "fiscal_year":
        return "2025"
    if column.endswith("_id"):
        return "'r1'"
    if column == "forecast_period_start":
        return "'2026-01-01'"
    if column.endswith(("_end", "end_date", "_to")):
        return "'2025-12-31'"
    return _VALUES[kind]


@pytest.fixture
async def filled(conn: asyncpg.Connection) -> asyncpg.Connection:
    """acme has one row `r1` in each table; globex exists too. Written by the owner in acme's context."""
    await make_tenant(conn, "acme", "ACME")
    await make_tenant(conn, "globex", "Globex")
    return conn


async def _fill(superuser: asyncpg.Connection) -> None:
    for table in _TABLES:
        await _insert(superuser, superuser, table, "acme", "r1")


async def _try(
    user: asyncpg.Connection, reader: asyncpg.Connection, table: str, verb: str, context: str | None
) -> int | str:
    """How many rows the verb touched, or why not; everything is rolled back."""
    transaction = user.transaction()
    await transaction.start()
    try:
        if context is not None:
            await user.execute("SELECT set_config('app.current_tenant', $1, true)", context)
        match verb:
            case "select":
                return len(await user.fetch(f"SELECT id FROM bf_acme.{table}"))  # noqa: S608
            case "insert":
                tag = await _insert(user, reader, table, "acme", "r2")
            case "update":
                tag = await user.execute(f"UPDATE bf_acme.{table} SET is_deleted = true")  # noqa: S608
            case "delete":
                # Children first: what refers to the row would refuse, which is not the question here.
                if table in _CHILD:
                    await user.execute(f"DELETE FROM bf_acme.{_CHILD[table]}")  # noqa: S608
                tag = await user.execute(f"DELETE FROM bf_acme.{table}")  # noqa: S608
            case _:
                tag = await user.execute(f"TRUNCATE bf_acme.{table}")
        return int(tag.rpartition(" ")[2])
    except asyncpg.InsufficientPrivilegeError as error:
        return _POLICY if "row-level security policy" in str(error) else _DENIED
    finally:
        await transaction.rollback()


async def test_the_matrix(
    filled: asyncpg.Connection, superuser: asyncpg.Connection, users: Users, subtests: pytest.Subtests
) -> None:
    await _fill(superuser)
    for role in _ROLES:
        user = await asyncpg.connect(users.dsns[role])
        for (wanted_role, name), expected in _EXPECTED.items():
            if wanted_role != role:
                continue
            for table in _TABLES:
                for verb, outcome in expected.items():
                    with subtests.test(f"{role} {name} {table} {verb}"):
                        assert await _try(user, superuser, table, verb, _CONTEXTS[name]) == outcome
        await user.close()


async def test_what_is_in_the_matrix_is_all_there_is(filled: asyncpg.Connection) -> None:
    """A table that is added without a policy, or without a place in the matrix, is found here."""
    rows = await filled.fetch(
        """SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity, count(p.oid) AS policies
             FROM pg_class c LEFT JOIN pg_policy p ON p.polrelid = c.oid
            WHERE c.relnamespace = 'bf_acme'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            GROUP BY c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity"""
    )
    assert {row["relname"]: tuple(row)[1:] for row in rows} == dict.fromkeys(_TABLES, (True, True, 2))


async def test_the_owner_is_held_by_the_policies_too(filled: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
    """It reads as the member of the audit role that it is, and changes nothing outside a tenant's context."""
    await _fill(superuser)
    for table in _TABLES:
        seen = {verb: await _try(filled, superuser, table, verb, None) for verb in ("insert", "update", "delete")}
        assert seen == {"insert": _POLICY, "update": 0, "delete": 0}, table
        await superuser.execute(f"DROP POLICY audit_access_{table} ON bf_acme.{table}")
        assert await _try(filled, superuser, table, "select", None) == 0


async def test_a_row_of_another_tenant_is_refused_even_without_policies(
    filled: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for table in _TABLES:
        with pytest.raises(asyncpg.CheckViolationError, match=f"{table}_tenant_check"):
            await _insert(superuser, superuser, table, "globex", "r9")


async def test_the_context_function_opens_one_tenant_for_one_transaction(
    filled: asyncpg.Connection, superuser: asyncpg.Connection, users: Users
) -> None:
    await _fill(superuser)
    user = await asyncpg.connect(users.dsns["app_role"])
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
    for forbidden in (
        "SELECT * FROM bf_control.tenant",
        "SELECT * FROM bf_control.api_key",
        "SELECT * FROM bf_queue.pgqueuer",
        "SELECT bf_shared.setup_tenant('mine', 'M', 'me')",
        "CREATE TABLE bf_acme.mine ()",
        "ALTER TABLE bf_acme.budgets DISABLE ROW LEVEL SECURITY",
        "DROP POLICY tenant_isolation_budgets ON bf_acme.budgets",
        "SET ROLE bf_migrator",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await user.execute(forbidden)
    await user.close()
