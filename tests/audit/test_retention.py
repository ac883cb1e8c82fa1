"""What is older than everything must be kept goes, from the chain's beginning, and the rest still verifies."""

from datetime import timedelta

import asyncpg
import pytest

from app.audit import chain_queries, sealer
from app.audit.model import Fault
from app.db.pool import Database
from tests.audit.support import TAMPER, add, check, fault
from tests.support.data import make_tenant


@pytest.fixture
async def old(conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection) -> int:
    """A chain with rows that are two years old at its beginning; how many they are."""
    await add(conn, 30)
    await superuser.execute("ALTER TABLE bf_control.audit DISABLE TRIGGER ALL")
    await superuser.execute("UPDATE bf_control.audit SET occurred_at = now() - interval '2 years'")
    await superuser.execute(
        "ALTER TABLE bf_control.audit ENABLE ALWAYS TRIGGER audit_refuse, ENABLE ALWAYS TRIGGER audit_refuse_delete"
    )
    count: int = await conn.fetchval("SELECT count(*) FROM bf_control.audit")
    await add(conn, 10)
    await sealer.seal(database)
    return count


async def _drop(database: Database, days: int) -> int:
    async with database.transaction() as conn:
        return await chain_queries.drop(conn, timedelta(days=days))


async def test_what_is_too_old_goes_and_the_chain_verifies(
    conn: asyncpg.Connection, database: Database, old: int
) -> None:
    assert await _drop(database, 365) == old
    assert await _drop(database, 365) == 0
    found = await check(database)
    assert (found.ok, found.first_seq, found.head.floor_seq) == (True, old + 1, old)
    await sealer.seal(database)
    found = await check(database)
    assert (found.ok, found.rows) == (True, 11)
    dropped = await conn.fetchrow("SELECT actor, action, target FROM bf_control.audit ORDER BY id DESC LIMIT 1")
    assert tuple(dropped) == ("service:audit", "audit.drop", "audit")


async def test_a_tenant_s_retention_keeps_everything(conn: asyncpg.Connection, database: Database, old: int) -> None:
    await make_tenant(conn)
    assert await _drop(database, 365) == 0  # 2,555 days, by default
    await conn.execute("UPDATE bf_shared.tenant_config SET data_retention_days = 500")
    await sealer.seal(database)
    assert await _drop(database, 365) == old
    assert await _drop(database, 365) == 0


async def test_nobody_drops_what_is_young(conn: asyncpg.Connection, database: Database, old: int) -> None:
    assert await conn.fetchval("SELECT bf_control.audit_drop('0')") == old
    assert await conn.fetchval("SELECT bf_control.audit_drop('-100 years')") == 0
    assert await conn.fetchval("SELECT bf_control.audit_drop(NULL)") == 0
    assert (await check(database)).ok


async def test_it_goes_in_slices(conn: asyncpg.Connection, database: Database, old: int) -> None:
    assert await conn.fetchval("SELECT bf_control.audit_drop('1 year', 7)") == 7
    assert await conn.fetchval("SELECT bf_control.audit_drop('1 year', 7)") == 7
    assert (await check(database)).ok


async def test_rows_that_are_gone_already_stop_it(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection, old: int
) -> None:
    await superuser.execute(TAMPER)
    await superuser.execute(
        "DELETE FROM bf_control.audit WHERE id = (SELECT audit_id FROM bf_control.audit_seal WHERE seq = 5)"
    )
    assert await conn.fetchval("SELECT bf_control.audit_drop('1 year')") == 4
    assert (await fault(database))[:2] == (Fault.ROW_MISSING, 5)
