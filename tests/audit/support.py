"""Rows of the audit trail for tests."""

import asyncpg

from app.audit import sealer, verify
from app.audit.anchors import Anchors
from app.audit.model import Fault, Verified
from app.db.pool import Database

_ADD = """
INSERT INTO bf_control.audit (actor, action, target, outcome, request_id, before, after)
SELECT 'tests:' || n % 7, 'tests.act', 'tenant/t' || n % 5, 'succeeded', 'r' || n,
       jsonb_build_object('n', n, 'text', 'ä"\\ ' || chr(1) || chr(127) || chr(8232)),
       jsonb_build_object('big', 12345678901234567890.12345678901234567890, 'exact', 1.00)
  FROM generate_series(1, $1::integer) AS n
"""
# Nothing that a trigger refuses is refused to a superuser who has disabled it.
TAMPER = """
ALTER TABLE bf_control.audit DISABLE TRIGGER ALL;
ALTER TABLE bf_control.audit_seal DISABLE TRIGGER ALL;
ALTER TABLE bf_control.audit_segment DISABLE TRIGGER ALL;
ALTER TABLE bf_control.audit_chain DISABLE TRIGGER ALL;
"""


async def add(conn: asyncpg.Connection, rows: int) -> None:
    await conn.execute(_ADD, rows)


async def sealed(conn: asyncpg.Connection, database: Database, rows: int) -> None:
    """So many more rows in the trail, all of it sealed."""
    await add(conn, rows)
    await sealer.seal(database)


async def check(database: Database, anchors: Anchors | None = None) -> Verified:
    return await verify.verify(database, anchors=anchors)


async def fault(database: Database, anchors: Anchors | None = None) -> tuple[Fault, int | None, int | None]:
    """What is wrong first, with seq and row; fails where nothing is."""
    found = await check(database, anchors)
    assert found.bad is not None, found
    return found.bad.fault, found.bad.seq, found.bad.audit_id
