"""Logins of every role, and what becomes of each thing they try."""

import io
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from tests.isolation.expected import CONTEXTS, ROLES, TABLES, VERBS
from tests.support.cluster import Cluster

_CHILD: Final = {"budgets": "budget_lines", "forecasts": "forecast_data_points"}
# Columns that a row cannot do without, with a value for each type.
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

_MERGE: Final = """
MERGE INTO bf_acme.{} t USING (SELECT 'r1' AS id) s ON t.id = s.id WHEN MATCHED THEN UPDATE SET is_deleted = true
"""


class Trial:
    """A database with tenants acme and globex, and a connection for each role."""

    def __init__(self, superuser: asyncpg.Connection, users: dict[str, asyncpg.Connection]) -> None:
        self.superuser = superuser
        self.users = users
        self._columns: dict[str, tuple[str, str]] = {}

    async def fill(self) -> None:
        """One row `r1` in each of acme's tables."""
        for table in TABLES:
            await self.superuser.execute(await self.insert(table, "r1"))

    async def insert(self, table: str, row_id: str, *, tenant: str = "acme") -> str:
        """A statement that violates no constraint."""
        columns, values = await self._row(table)
        return f"INSERT INTO bf_acme.{table} (id, tenant_id, {columns}) VALUES ('{row_id}', '{tenant}', {values})"  # noqa: S608

    async def _row(self, table: str) -> tuple[str, str]:
        if table not in self._columns:
            rows = await self.superuser.fetch(_REQUIRED, f"bf_acme.{table}")
            values = ", ".join(_value(row["attname"], row["type"]) for row in rows)
            self._columns[table] = ", ".join(row["attname"] for row in rows), values
        return self._columns[table]

    async def outcomes(self, *, tables: Sequence[str] = TABLES) -> dict[tuple[str, str, str, str], str]:
        """Of all that there is, by role, context, table and verb; each try is rolled back."""
        version = self.superuser.get_server_version().major
        verbs = [verb for verb in VERBS if verb != "merge" or version >= 15]
        return {
            (role, context, table, verb): await self.outcome(role, context, table, verb)
            for role in ROLES for context in CONTEXTS for table in tables for verb in verbs
        }  # fmt: skip

    async def outcome(self, role: str, context: str, table: str, verb: str) -> str:
        user = self.users[role]
        await user.execute("BEGIN")
        try:
            if (tenant := CONTEXTS[context]) is not None:
                await user.execute("SELECT set_config('app.current_tenant', $1, true)", tenant)
            return await self._do(user, table, verb)
        except asyncpg.InsufficientPrivilegeError as error:
            if "row-level security policy" in str(error):
                return "policy"
            return "schema" if "schema bf_acme" in str(error) else "table" if "for table" in str(error) else str(error)
        except asyncpg.FeatureNotSupportedError as error:
            return "rls" if "row-level security" in str(error) else str(error)
        finally:
            await user.execute("ROLLBACK")

    async def _do(self, user: asyncpg.Connection, table: str, verb: str) -> str:
        match verb:
            case "copy_to":
                return _rows(await user.copy_from_table(table, schema_name="bf_acme", output=io.BytesIO()))
            case "copy_from":
                source = io.BytesIO(b"r2\tacme\n")
                return _rows(
                    await user.copy_to_table(table, schema_name="bf_acme", columns=["id", "tenant_id"], source=source)
                )
            case "delete" if table in _CHILD:
                # Children first: what refers to the row would refuse, which is not the question here.
                await user.execute(f"DELETE FROM bf_acme.{_CHILD[table]}")  # noqa: S608
        tag = await user.execute(await self._statement(table, verb))
        return "ok" if verb in {"truncate", "lock"} else _rows(tag)

    async def _statement(self, table: str, verb: str) -> str:
        columns, values = await self._row(table)
        match verb:
            case "select":
                return f"SELECT id FROM bf_acme.{table}"  # noqa: S608
            case "insert":
                return await self.insert(table, "r2")
            case "update":
                return f"UPDATE bf_acme.{table} SET is_deleted = true"  # noqa: S608
            case "delete":
                return f"DELETE FROM bf_acme.{table}"  # noqa: S608
            case "upsert":
                return f"{await self.insert(table, 'r1')} ON CONFLICT (id) DO UPDATE SET is_deleted = true"
            case "nothing":
                return f"{await self.insert(table, 'r1')} ON CONFLICT DO NOTHING"
            case "merge":
                insert = f"INSERT (id, tenant_id, {columns}) VALUES ('r1', 'acme', {values})"  # noqa: S608
                return f"{_MERGE.format(table)} WHEN NOT MATCHED THEN {insert}"
            case "truncate":
                return f"TRUNCATE bf_acme.{table} CASCADE"
            case "for_update":
                return f"SELECT id FROM bf_acme.{table} FOR UPDATE"  # noqa: S608
            case "lock":
                return f"LOCK TABLE bf_acme.{table} IN ROW EXCLUSIVE MODE"
        raise AssertionError(verb)


def _rows(tag: str) -> str:
    return tag.rpartition(" ")[2]


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


@asynccontextmanager
async def logins(
    cluster: Cluster, superuser: asyncpg.Connection, dsn: str, groups: dict[str, str | None]
) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    """By name, connections of login users that are each a member of one role, or of none."""
    database, opened, names = dsn.rpartition("/")[2], {}, []
    try:
        for name, group in groups.items():
            login, password = f"login_{name}_{secrets.token_hex(4)}", secrets.token_hex(8)
            await superuser.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{password}'")
            names.append(login)
            if group is not None:
                await superuser.execute(f"GRANT {group} TO {login}")
            # Without its introspection asyncpg prepares nothing here: DDL of others spoils no statement.
            opened[name] = await asyncpg.connect(cluster.dsn(database, login, password), statement_cache_size=0)
        yield opened
    finally:
        for connection in opened.values():
            await connection.close()
        for login in names:
            await superuser.execute(f"DROP OWNED BY {login}; DROP ROLE {login}")
