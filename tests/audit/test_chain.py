"""The chain: what the sealer links, and that whatever was done to it afterwards is found, and the row named."""

import asyncio
import hashlib
import json
import os
import random
import secrets

import asyncpg
import pytest

from app.audit import canonical, sealer, verify
from app.audit.model import Fault
from app.db.pool import Database
from tests.audit.support import TAMPER, add, check, fault, sealed

FULL = os.environ.get("BF_TEST_FULL") == "1"
_LINKS = "SELECT seq, audit_id, hash FROM bf_control.audit_seal ORDER BY seq"


async def test_what_was_recorded_is_sealed_once_and_verifies(conn: asyncpg.Connection, database: Database) -> None:
    before = await conn.fetchval("SELECT count(*) FROM bf_control.audit")
    await add(conn, 2500)
    assert await sealer.seal(database) == before + 2500
    assert await sealer.seal(database) == 0
    links = await conn.fetch(_LINKS)
    assert [link["seq"] for link in links] == list(range(1, before + 2501))
    found = await check(database)
    assert (found.ok, found.complete, found.rows, found.unsealed) == (True, True, before + 2500, 0)
    await add(conn, 3)
    found = await check(database)
    assert (found.ok, found.unsealed) == (True, 3)


async def test_a_hash_is_what_anybody_computes_who_reads_the_docs(conn: asyncpg.Connection, database: Database) -> None:
    await sealed(conn, database, 3)
    previous = bytes(32)
    for link in await conn.fetch(_LINKS):
        row = await conn.fetchrow(
            """SELECT to_char(occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS occurred_at, id,
                      actor, role, database_user, source_address, request_id, action, target, outcome, before::text,
                      after::text, xid::text FROM bf_control.audit WHERE id = $1""",
            link["audit_id"],
        )
        document = {**dict(row), "seq": link["seq"], "prev": previous.hex()}
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(text.encode()).digest()
        assert bytes(link["hash"]) == previous


def test_canonical_json_is_rfc_8785_s() -> None:
    said = {"b": 'é€"\\\n\u0001\u007f\u2028/', "a": None, "seq": 2**53 - 1}
    assert (
        canonical.canonical(said) == '{"a":null,"b":"é€\\"\\\\\\n\\u0001\u007f\u2028/","seq":9007199254740991}'.encode()
    )


@pytest.mark.parametrize(
    "column",
    ["actor", "role", "database_user", "source_address", "request_id", "action", "target", "occurred_at", "outcome",
     "before", "after", "xid"],
)  # fmt: skip
async def test_an_edit_of_any_column_is_found(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection, column: str
) -> None:
    await sealed(conn, database, 12)
    link = (await conn.fetch(_LINKS))[5]
    others = {
        "occurred_at": "occurred_at + interval '1 microsecond'",
        "outcome": "'failed'",
        "before": """before || '{"n": 4711}'""",
        # The same double, and not the same number.
        "after": """jsonb_set(after, '{big}', '12345678901234567890.12345678901234567891')""",
        "xid": "'3'",
    }
    await superuser.execute(TAMPER)
    await superuser.execute(
        f"UPDATE bf_control.audit SET {column} = {others.get(column, repr('other'))} WHERE id = $1",  # noqa: S608
        link["audit_id"],
    )
    assert await fault(database) == (Fault.ALTERED, link["seq"], link["audit_id"])


async def test_each_row_edited_deleted_or_moved_is_named(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    seed = int(os.environ.get("BF_TEST_SEED", secrets.randbits(32)))
    print(f"BF_TEST_SEED={seed}")  # noqa: T201 -- what runs it again
    chance = random.Random(seed)  # noqa: S311
    await sealed(conn, database, 200 if FULL else 20)
    await superuser.execute(TAMPER)
    await superuser.execute("ALTER TABLE bf_control.audit_seal DROP CONSTRAINT audit_seal_seq_check")
    links = await conn.fetch(_LINKS)
    for link in links:
        seq, audit_id = link["seq"], link["audit_id"]
        other = chance.choice([one for one in links if one["seq"] > seq] or [None])
        for statement, wanted in (
            ("UPDATE bf_control.audit SET after = '{}' WHERE id = $1", (Fault.ALTERED, seq, audit_id)),
            ("DELETE FROM bf_control.audit WHERE id = $1", (Fault.ROW_MISSING, seq, audit_id)),
            ("DELETE FROM bf_control.audit_seal WHERE audit_id = $1", None),
        ):
            transaction = superuser.transaction()
            await transaction.start()
            await superuser.execute(statement, audit_id)
            assert await _found(superuser) == (wanted or _gone(links, seq)), (seed, seq, statement)
            await transaction.rollback()
        if other is not None:
            transaction = superuser.transaction()
            await transaction.start()
            for temporary, place in ((-1, seq), (seq, other["seq"]), (other["seq"], -1)):
                await superuser.execute(
                    "ALTER TABLE bf_control.audit_seal DROP CONSTRAINT IF EXISTS audit_seal_seq_check"
                )
                await superuser.execute("UPDATE bf_control.audit_seal SET seq = $1 WHERE seq = $2", temporary, place)
            assert await _found(superuser) == (Fault.ALTERED, seq, other["audit_id"]), (seed, seq)
            await transaction.rollback()


class _Inside:
    """A database whose connections are all the one in whose transaction somebody tampers."""

    def __init__(self, conn: asyncpg.Connection) -> None:
        self._conn = conn

    def connection(self) -> "_Inside":
        return self

    async def __aenter__(self) -> asyncpg.Connection:
        return self._conn

    async def __aexit__(self, *_: object) -> None: ...


async def _found(superuser: asyncpg.Connection) -> tuple[Fault, int | None, int | None]:
    return await fault(_Inside(superuser))  # type: ignore[arg-type]


def _gone(links: list[asyncpg.Record], seq: int) -> tuple[Fault, int | None, int | None]:
    if seq == links[-1]["seq"]:
        return Fault.TRUNCATED, seq, None
    return Fault.SEAL_MISSING, seq, None


async def test_rows_that_were_exchanged_are_found(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await sealed(conn, database, 10)
    third, fourth = (await conn.fetch(_LINKS))[2:4]
    await superuser.execute(TAMPER)
    for new, old in ((-1, third["audit_id"]), (third["audit_id"], fourth["audit_id"]), (fourth["audit_id"], -1)):
        await superuser.execute("UPDATE bf_control.audit_seal SET audit_id = $1 WHERE audit_id = $2", new, old)
    assert await fault(database) == (Fault.ALTERED, third["seq"], fourth["audit_id"])


async def test_a_row_put_in_behind_the_sealer_is_named(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await sealed(conn, database, 10)
    added = await superuser.fetchval(
        """INSERT INTO bf_control.audit (actor, action, target, outcome, xid)
           VALUES ('nobody', 'tests.act', 'tenant/t1', 'succeeded', '7') RETURNING id"""
    )
    await sealer.seal(database)
    assert await fault(database) == (Fault.NEVER_SEALED, None, added)


async def test_a_truncated_trail_is_named_by_its_first_row(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await sealed(conn, database, 10)
    first = (await conn.fetch(_LINKS))[0]
    await superuser.execute(TAMPER)
    await superuser.execute("TRUNCATE bf_control.audit")
    assert await fault(database) == (Fault.ROW_MISSING, 1, first["audit_id"])
    await superuser.execute("TRUNCATE bf_control.audit_seal")
    assert (await fault(database))[:2] == (Fault.TRUNCATED, 1)
    await superuser.execute("DELETE FROM bf_control.audit_chain")
    assert (await fault(database))[0] == Fault.TRUNCATED


async def test_an_end_that_was_cut_off_is_found_by_the_recorded_head(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await sealed(conn, database, 10)
    last = (await conn.fetch(_LINKS))[-1]
    await superuser.execute(TAMPER)
    await superuser.execute("DELETE FROM bf_control.audit WHERE id = $1", last["audit_id"])
    await superuser.execute("DELETE FROM bf_control.audit_seal WHERE seq = $1", last["seq"])
    assert await fault(database) == (Fault.TRUNCATED, last["seq"], None)


async def test_a_beginning_that_was_cut_off_without_a_record_is_found(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await sealed(conn, database, 10)
    third = (await conn.fetch(_LINKS))[2]
    await superuser.execute(TAMPER)
    await superuser.execute("DELETE FROM bf_control.audit WHERE id <= $1", third["audit_id"])
    await superuser.execute("DELETE FROM bf_control.audit_seal WHERE seq <= 3")
    assert await fault(database) == (Fault.SEAL_MISSING, 1, None)
    await superuser.execute(
        "INSERT INTO bf_control.audit_segment (first_seq, last_seq, head_hash, newest) VALUES (1, 3, $1, now())",
        third["hash"],
    )
    assert await fault(database) == (Fault.DROP_UNKNOWN, 3, None)


async def test_a_long_transaction_holds_up_nobody_and_its_rows_come_after_those_that_committed_before(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await sealer.seal(database)
    async with superuser.transaction():
        await add(superuser, 2)
        await add(conn, 3)
        assert await sealer.seal(database) == 3
        assert await sealer.seal(database) == 0
        await add(conn, 1)
        assert await sealer.seal(database) == 1
        late = await superuser.fetch("SELECT id FROM bf_control.audit WHERE xid = pg_current_xact_id() ORDER BY id")
    assert await sealer.seal(database) == 2
    assert await sealer.seal(database) == 0
    links = await conn.fetch(_LINKS)
    assert [link["audit_id"] for link in links[-2:]] == [row["id"] for row in late]
    assert (await check(database)).ok


async def test_many_sealers_and_writers_at_once_make_one_chain(
    conn: asyncpg.Connection, database: Database, dsn: str
) -> None:
    writers = [await asyncpg.connect(dsn) for _ in range(4)]

    async def write(writer: asyncpg.Connection) -> None:
        for number in range(40 if FULL else 12):
            transaction = writer.transaction()
            await transaction.start()
            await add(writer, 5)
            await (transaction.rollback() if number % 3 == 0 else transaction.commit())

    async def seal() -> None:
        for _ in range(30):
            await sealer.seal(database)

    try:
        await asyncio.gather(*map(write, writers), seal(), seal(), seal())
    finally:
        for writer in writers:
            await writer.close()
    await sealer.seal(database)
    found = await check(database)
    assert found.ok
    assert found.rows == await conn.fetchval("SELECT count(*) FROM bf_control.audit")
    assert found.unsealed == 0


async def test_rows_older_than_the_chain_are_sealed_first(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await add(conn, 5)
    await superuser.execute(TAMPER)
    await superuser.execute("UPDATE bf_control.audit SET xid = '0' WHERE request_id IN ('r2', 'r4', 'r5')")
    await sealer.seal(database)
    rows = await conn.fetch(
        "SELECT request_id FROM bf_control.audit a JOIN bf_control.audit_seal s ON s.audit_id = a.id ORDER BY s.seq"
    )
    assert [row["request_id"] for row in rows if row["request_id"]][:3] == ["r2", "r4", "r5"]
    assert (await check(database)).ok


async def test_a_restore_into_a_younger_cluster_is_sealed_on(
    conn: asyncpg.Connection, database: Database, superuser: asyncpg.Connection
) -> None:
    await sealed(conn, database, 5)
    await superuser.execute("UPDATE bf_control.audit_chain SET done_xid = '99999999999'")
    await add(conn, 4)
    assert await sealer.seal(database) == 4
    assert (await check(database)).ok


async def test_a_verification_goes_on_where_another_has_stopped(conn: asyncpg.Connection, database: Database) -> None:
    await sealed(conn, database, 1200)
    begin, rows, calls = None, 0, 0
    while True:
        found = await verify.verify(database, anchors=None, start=begin, at_most=500)
        assert found.ok
        rows, calls = rows + found.rows, calls + 1
        if found.complete:
            break
        begin = found.next_seq
    assert rows == await conn.fetchval("SELECT count(*) FROM bf_control.audit")
    assert calls == 3
