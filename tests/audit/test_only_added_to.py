"""UPDATE, DELETE and TRUNCATE are refused to everybody, the owner included; a login of the service's own has INSERT."""

import re
import secrets
from pathlib import Path

import asyncpg
import pytest

from app.db.pool import Database
from app.settings import Settings
from tests.audit.support import TAMPER, add, check, sealed
from tests.support import pooling
from tests.support.api import running_api
from tests.support.data import make_tenant, settings_for
from tests.support.polling import until

_REFUSED = [
    "UPDATE bf_control.audit SET actor = 'nobody'",
    "UPDATE bf_control.audit SET actor = 'nobody' WHERE false",
    "DELETE FROM bf_control.audit",
    "TRUNCATE bf_control.audit",
    "UPDATE bf_control.audit_seal SET hash = decode(repeat('00', 32), 'hex')",
    "DELETE FROM bf_control.audit_seal",
    "TRUNCATE bf_control.audit_seal",
    "TRUNCATE bf_control.audit, bf_control.audit_seal CASCADE",
    "DELETE FROM bf_control.audit_segment",
    "UPDATE bf_control.audit_segment SET last_seq = 1",
    "DELETE FROM bf_control.audit_chain",
    "TRUNCATE bf_control.audit_chain",
    """INSERT INTO bf_control.audit_seal SELECT * FROM bf_control.audit_seal
           ON CONFLICT (seq) DO UPDATE SET hash = excluded.hash""",
    "WITH gone AS (DELETE FROM bf_control.audit RETURNING id) SELECT count(*) FROM gone",
]


@pytest.mark.parametrize("statement", _REFUSED)
async def test_the_owner_is_refused(conn: asyncpg.Connection, database: Database, statement: str) -> None:
    await sealed(conn, database, 3)
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"only added to"):
        await conn.execute(statement)
    assert (await check(database)).ok


@pytest.mark.parametrize("statement", ["UPDATE bf_control.audit SET actor = 'x'", "DELETE FROM bf_control.audit"])
async def test_a_superuser_who_replays_is_refused_too(
    superuser: asyncpg.Connection, conn: asyncpg.Connection, statement: str
) -> None:
    await add(conn, 1)
    await superuser.execute("SET session_replication_role = replica")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match=r"only added to"):
        await superuser.execute(statement)


async def test_what_an_owner_can_do_is_disable_the_triggers_which_the_chain_survives(
    conn: asyncpg.Connection, database: Database
) -> None:
    await sealed(conn, database, 3)
    await conn.execute("ALTER TABLE bf_control.audit DISABLE TRIGGER audit_refuse")
    await conn.execute("UPDATE bf_control.audit SET actor = 'nobody' WHERE request_id = 'r2'")
    found = await check(database)
    assert found.bad is not None
    assert found.bad.audit_id == await conn.fetchval("SELECT id FROM bf_control.audit WHERE request_id = 'r2'")


def _grants() -> list[str]:
    """What docs/audit.md grants to a login of the service's own."""
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
    block = re.search(r"```sql\n(-- A login for the API.*?)```", text, re.DOTALL)
    assert block is not None
    return [statement.strip() for statement in block[1].split(";") if statement.strip()]


async def test_a_login_of_the_service_s_own_adds_and_reads_and_does_no_more(
    conn: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings, dsn: str, tmp_path: Path
) -> None:
    await make_tenant(conn)
    role, password = f"bf_service_{secrets.token_hex(4)}", secrets.token_hex(8)
    await superuser.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    try:
        for statement in _grants():
            await conn.execute(statement.replace("bf_service", role))
        address = pooling.direct(dsn).partition("@")[2]
        own = f"postgresql://{role}:{password}@{address}"
        login = await asyncpg.connect(own)
        try:
            await login.execute(
                "INSERT INTO bf_control.audit (actor, action, target, outcome) VALUES ('a', 'b', 'c', 'succeeded')"
            )
            assert await login.fetchval("SELECT count(*) FROM bf_control.audit WHERE actor = 'a'") == 1
            await login.fetchval("SELECT count(*) FROM bf_control.audit_seal")
            for statement in (
                *_REFUSED,
                "INSERT INTO bf_control.audit_seal VALUES (99, 99, decode(repeat('00', 32), 'hex'))",
                "UPDATE bf_control.audit_chain SET head_seq = 0",
                "SELECT bf_control.audit_drop('1 day')",
                "ALTER TABLE bf_control.audit DISABLE TRIGGER ALL",
                "DROP TRIGGER audit_refuse ON bf_control.audit",
                """INSERT INTO bf_control.audit (actor, action, target, outcome, xid)
                       VALUES ('a', 'b', 'c', 'succeeded', '1')""",
                """INSERT INTO bf_control.audit (actor, action, target, outcome, occurred_at)
                       VALUES ('a', 'b', 'c', 'succeeded', '2020-01-01')""",
                """INSERT INTO bf_control.audit (actor, action, target, outcome, database_user)
                       VALUES ('a', 'b', 'c', 'succeeded', 'other')""",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await login.execute(statement)
        finally:
            await login.close()
        served = settings_for(own, bootstrap_admin_key_file=tmp_path / "own-key")
        async with running_api(served, with_worker=False) as api:
            answer = await api.client.patch("/v1/tenants/acme_corp/config", json={"default_currency": "EUR"})
            assert answer.status_code == 200, answer.text
            assert (await api.client.get("/v1/audit")).status_code == 403
            row = await until(
                lambda: conn.fetchrow("SELECT database_user FROM bf_control.audit WHERE outcome = 'denied'"), within=10
            )
            assert row["database_user"] == role
            changed = await conn.fetchrow("SELECT * FROM bf_control.audit WHERE action = 'tenant.configure'")
            assert (changed["database_user"], changed["role"]) == (role, "admin")
    finally:
        await superuser.execute(f"DROP OWNED BY {role}")
        await superuser.execute(f"DROP ROLE {role}")


async def test_nothing_of_it_is_public(conn: asyncpg.Connection) -> None:
    granted = await conn.fetch(
        """SELECT c.relname FROM pg_class c, aclexplode(c.relacl) a
            WHERE c.relnamespace = 'bf_control'::regnamespace AND c.relname LIKE 'audit%' AND a.grantee = 0"""
    )
    assert granted == []
    public = await conn.fetchval(
        """SELECT count(*) FROM pg_proc p
            WHERE p.pronamespace = 'bf_control'::regnamespace AND p.proname LIKE 'audit%'
              AND (p.proacl IS NULL OR EXISTS (SELECT FROM aclexplode(p.proacl) a WHERE a.grantee = 0))"""
    )
    assert public == 0


async def test_a_tampered_table_is_what_the_tests_say(superuser: asyncpg.Connection, conn: asyncpg.Connection) -> None:
    """That disabling the triggers is what lets the other tests tamper, and nothing else."""
    await add(conn, 1)
    await superuser.execute(TAMPER)
    await superuser.execute("UPDATE bf_control.audit SET actor = 'x'")
