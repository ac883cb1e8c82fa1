"""Places inside a tenant's DDL at which whoever runs it waits for the test."""

import asyncpg

from tests.support.data import LATEST
from tests.support.polling import until

# Advisory locks of two keys: this one is the tests'.
_CLASS = 7_7_7

_SPREAD = """
UPDATE bf_control.tenant_statement SET ordinal = ordinal * -10;
UPDATE bf_control.tenant_statement SET ordinal = -ordinal;
"""
# Whoever waits has more patience here than elsewhere: a test may take longer than lock_timeout on a busy machine.
_GATE = """
INSERT INTO bf_control.tenant_statement (version, ordinal, section, statement)
VALUES ($4, $1 * 10 + 5, 'table', format($gate$DO $do$
DECLARE
    patience text := current_setting('lock_timeout');
BEGIN
    IF {{tenant_id}} = %L THEN
        PERFORM set_config('lock_timeout', '60s', true);
        PERFORM pg_advisory_xact_lock_shared(%s, %s);
        PERFORM set_config('lock_timeout', patience, true);
    END IF;
END $do$$gate$, $2::text, $3::integer, $1::integer))
"""
_NEXT_VERSION = """
INSERT INTO bf_control.tenant_statement
SELECT max(s.version) + 1, 1, 'table', 'ALTER TABLE budgets ADD COLUMN extra text' FROM bf_control.tenant_statement s
"""
_WAITING = """
SELECT count(*) FROM pg_locks l WHERE l.locktype = 'advisory' AND l.classid = $1::integer::oid AND NOT l.granted
"""


async def statements(conn: asyncpg.Connection) -> int:
    """How many statements make a tenant; gates may be put after number 0 to this."""
    count: int = await conn.fetchval("SELECT max(ordinal) FROM bf_control.tenant_statement WHERE version = 1")
    return count


async def install(conn: asyncpg.Connection, points: dict[str, int]) -> None:
    """Tenant `name` waits after so many of its statements, as long as `conn` holds the gate shut. Once per database.

    A gate leaves nothing in the catalogue, so the tenant is still the expected one.
    """
    await conn.execute(_SPREAD)
    for name, point in points.items():
        await conn.execute(_GATE, point, name, _CLASS, 1)


async def next_version(conn: asyncpg.Connection, points: dict[str, int]) -> None:
    """The next tenant migration, as the release after this one leaves it for the upgrades of this one.

    Tenant `name` waits in it, at a gate with the number that `points` has for it. Once per database.
    """
    await conn.execute(_NEXT_VERSION)
    for name, point in points.items():
        await conn.execute(_GATE, point, name, _CLASS, LATEST + 1)


async def shut(conn: asyncpg.Connection, points: dict[str, int]) -> None:
    for point in points.values():
        await conn.execute("SELECT pg_advisory_lock($1::integer, $2::integer)", _CLASS, point)


async def reached(conn: asyncpg.Connection, count: int) -> None:
    """Until so many tenants wait at their gates."""

    async def look() -> bool:
        waiting: int = await conn.fetchval(_WAITING, _CLASS)
        return waiting == count

    await until(look, what=f"the arrival of {count} tenants at their gates")


async def open_all(conn: asyncpg.Connection) -> None:
    await conn.execute("SELECT pg_advisory_unlock_all()")
