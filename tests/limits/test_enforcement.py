"""Limits hold in the database: whatever writes rows, the COMMIT that goes over is refused, and counters are exact."""

import asyncio
import random
import secrets
from itertools import count

import asyncpg
import pytest

from tests.limits.conftest import Connect
from tests.limits.support import BUDGETS, FORECAST, LINES, SCENARIO, events, over, set_limits, used, working
from tests.support.data import make_tenant

_TENANT_OF_LIVE = "SELECT count(*) FROM bf_acme_corp.budgets WHERE is_deleted IS NOT TRUE"


async def test_a_commit_that_goes_over_is_refused_with_one_sqlstate_that_names_limit_value_and_tenant(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_budgets": 3}')
    async with working(application):
        await application.execute(BUDGETS, "a", 3)
    with over("max_budgets", "acme_corp", "3", "4"):
        async with working(application):
            await application.execute(BUDGETS, "b", 1)
    assert await used(conn) == {"max_budgets": 3}


@pytest.mark.parametrize(
    ("name", "statement", "arguments"),
    [
        ("max_budgets", BUDGETS, ("x", 2)),
        ("max_budget_lines", LINES, ("x", 2)),
        ("max_forecasts", FORECAST, ("x", 12)),
        ("max_scenarios", SCENARIO, ("x",)),
    ],
)
async def test_each_counted_limit_holds(
    conn: asyncpg.Connection, application: asyncpg.Connection, name: str, statement: str, arguments: tuple[object, ...]
) -> None:
    async with working(application):
        await application.execute(BUDGETS, "b", 1)
    allowed = await conn.fetchval(
        "SELECT used FROM bf_control.usage_counter WHERE tenant_id = 'acme_corp' AND limit_name = $1", name
    )
    if name == "max_budget_lines":
        await conn.execute("UPDATE bf_shared.tenant_config SET max_budget_lines = $1", allowed)
    else:
        await set_limits(conn, f'{{"{name}": {allowed}}}')
    with over(name):
        async with working(application):
            await application.execute(statement, *arguments)


async def test_what_is_rolled_back_was_never_counted(conn: asyncpg.Connection, application: asyncpg.Connection) -> None:
    await set_limits(conn, '{"max_budgets": 5}')
    async with working(application):
        for name in ("a", "b", "c"):
            savepoint = application.transaction()
            await savepoint.start()
            await application.execute(BUDGETS, name, 4)
            await savepoint.rollback()
        await application.execute(BUDGETS, "d", 2)
        inner = application.transaction()
        await inner.start()
        await application.execute(BUDGETS, "e", 3)
        await inner.commit()
    assert await used(conn) == {"max_budgets": 5}
    transaction = application.transaction()
    await transaction.start()
    await application.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'u')")
    await application.execute(BUDGETS, "f", 9)
    await transaction.rollback()
    assert await used(conn) == {"max_budgets": 5}
    assert await conn.fetchval("SELECT count(*) FROM bf_control.usage_delta") == 0


async def test_deleting_softly_or_for_good_makes_room_and_undeleting_takes_it(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_budgets": 4}')
    async with working(application):
        await application.execute(BUDGETS, "a", 4)
    async with working(application):
        await application.execute("UPDATE budgets SET is_deleted = true WHERE id IN ('a1', 'a2')")
    assert await used(conn) == {"max_budgets": 2}
    async with working(application):  # of one that is deleted already, nothing goes
        await application.execute("UPDATE budgets SET is_deleted = true, status = 'x' WHERE id IN ('a1', 'a2')")
        await application.execute("UPDATE budgets SET is_deleted = NULL WHERE id = 'a3'")
        await application.execute("DELETE FROM budgets WHERE id = 'a1'")
        await application.execute("DELETE FROM budgets WHERE id = 'a4'")
        await application.execute(BUDGETS, "b", 3)
    assert await used(conn) == {"max_budgets": 4}
    with over("max_budgets"):
        async with working(application):
            await application.execute("UPDATE budgets SET is_deleted = false WHERE id = 'a2'")
    assert await used(conn) == {"max_budgets": 4} == {"max_budgets": await _live(conn)}


async def _live(conn: asyncpg.Connection) -> int:
    """The owner may read as the audit role."""
    async with conn.transaction():
        await conn.execute("SET LOCAL ROLE audit_role")
        found: int = await conn.fetchval(_TENANT_OF_LIVE)
    return found


async def test_replacing_rows_at_the_limit_is_allowed(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_budgets": 2}')
    async with working(application):
        await application.execute(BUDGETS, "a", 2)
    async with working(application):
        await application.execute(BUDGETS, "b", 2)
        await application.execute("DELETE FROM budgets WHERE id LIKE 'a%'")
    assert await used(conn) == {"max_budgets": 2}


async def test_an_upsert_counts_what_it_inserts_alone(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_budgets": 3}')
    async with working(application):
        await application.execute(BUDGETS, "a", 2)
    async with working(application):
        await application.execute(
            f"{BUDGETS} ON CONFLICT (id) DO UPDATE SET status = 'again', is_deleted = (budgets.id = 'a2')", "a", 3
        )
    assert await used(conn) == {"max_budgets": 2}
    async with working(application):
        await application.execute(f"{BUDGETS} ON CONFLICT DO NOTHING", "a", 3)
    assert await used(conn) == {"max_budgets": 2}


async def test_merge_counts_each_of_its_actions(conn: asyncpg.Connection, application: asyncpg.Connection) -> None:
    if conn.get_server_version().major < 15:
        pytest.skip("MERGE came with PostgreSQL 15")
    async with working(application):
        await application.execute(BUDGETS, "a", 3)
    async with working(application):
        await application.execute(
            """MERGE INTO budgets b USING (VALUES ('a1', 'delete'), ('a2', 'soft'), ('a3', 'touch'), ('n1', 'new'))
                     AS s(id, what) ON b.id = s.id
               WHEN MATCHED AND s.what = 'delete' THEN DELETE
               WHEN MATCHED AND s.what = 'soft' THEN UPDATE SET is_deleted = true
               WHEN MATCHED THEN UPDATE SET status = 'x'
               WHEN NOT MATCHED THEN INSERT (id, budget_name, budget_type, fiscal_year, budget_period_start,
                                             budget_period_end)
                    VALUES (s.id, 'B', 'annual', 2025, '2025-01-01', '2025-12-31')"""
        )
    assert await used(conn) == {"max_budgets": 2} == {"max_budgets": await _live(conn)}


async def test_truncating_and_copying_are_counted(superuser: asyncpg.Connection, tenant: str) -> None:
    async with working(superuser):
        await superuser.execute(BUDGETS, "a", 3)
    async with working(superuser):
        await superuser.execute(BUDGETS, "b", 2)
        await superuser.execute("TRUNCATE budgets CASCADE")
        await superuser.execute(BUDGETS, "c", 1)
    assert await used(superuser) == {"max_budgets": 1}
    async with working(superuser):
        await superuser.execute("TRUNCATE budgets CASCADE")
    assert await used(superuser) == {}
    columns = [
        "id",
        "tenant_id",
        "budget_name",
        "budget_type",
        "fiscal_year",
        "budget_period_start",
        "budget_period_end",
    ]
    start, end = (await superuser.fetchrow("SELECT '2025-01-01'::date, '2025-12-31'::date")) or (None, None)
    rows = [(f"k{n}", "acme_corp", "B", "annual", 2025, start, end) for n in range(7)]
    await superuser.copy_records_to_table("budgets", schema_name="bf_acme_corp", columns=columns, records=rows)
    assert await used(superuser) == {"max_budgets": 7}


async def test_constraints_set_immediate_are_counted_all_the_same(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_budgets": 3}')
    async with working(application):
        await application.execute(BUDGETS, "a", 1)
        await application.execute("SET CONSTRAINTS ALL IMMEDIATE")
        await application.execute(BUDGETS, "b", 1)
        await application.execute("DELETE FROM budgets WHERE id = 'a1'")
        await application.execute(BUDGETS, "c", 2)
        with over("max_budgets"):
            async with application.transaction():
                await application.execute(BUDGETS, "d", 1)
    assert await used(conn) == {"max_budgets": 3}


async def test_two_tenants_in_one_transaction_are_settled_each(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await make_tenant(conn, "globex", "Globex")
    await set_limits(conn, '{"max_budgets": 2}', "globex")
    with over("globex", "max_budgets"):
        async with working(application, "acme_corp"):
            await application.execute(BUDGETS, "a", 5)
            await application.execute("SELECT bf_shared.set_tenant_context('globex', 'u')")
            await application.execute(BUDGETS, "a", 3)
    assert (await used(conn), await used(conn, "globex")) == ({}, {})
    async with working(application, "acme_corp"):
        await application.execute(BUDGETS, "a", 5)
        await application.execute("SELECT bf_shared.set_tenant_context('globex', 'u')")
        await application.execute(BUDGETS, "a", 2)
    assert (await used(conn), await used(conn, "globex")) == ({"max_budgets": 5}, {"max_budgets": 2})


async def test_inserts_at_the_same_time_cannot_slip_past(
    conn: asyncpg.Connection, tenant: str, connect: Connect
) -> None:
    await set_limits(conn, '{"max_budgets": 20}')
    numbers, refused = count(), 0

    async def insert(application: asyncpg.Connection) -> None:
        nonlocal refused
        for _ in range(12):
            try:
                async with working(application):
                    await application.execute(BUDGETS, f"{next(numbers)}_", 1)
            except asyncpg.PostgresError as error:
                if error.sqlstate != "BF001":
                    raise
                refused += 1

    await asyncio.gather(*[insert(await connect()) for _ in range(4)])
    assert await used(conn) == {"max_budgets": 20} == {"max_budgets": await _live(conn)}
    assert refused == 28


async def test_whatever_many_do_at_the_same_time_counters_are_what_is_there(
    conn: asyncpg.Connection, tenant: str, connect: Connect
) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # noqa: T201
    numbers = count()

    async def work(application: asyncpg.Connection, chance: random.Random) -> None:
        for _ in range(15):
            try:
                async with working(application):
                    for _ in range(chance.randint(1, 4)):
                        await _something(application, chance, f"{next(numbers)}_")
                    if chance.random() < 0.2:
                        raise _Enough  # noqa: TRY301
            except (_Enough, asyncpg.DeadlockDetectedError):  # two may wait for each other's budgets
                pass

    await asyncio.gather(*[work(await connect(), random.Random(seed + n)) for n in range(4)])  # noqa: S311
    assert (await used(conn)).get("max_budgets", 0) == await _live(conn)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.usage_delta") == 0


class _Enough(Exception): ...


async def _something(application: asyncpg.Connection, chance: random.Random, name: str) -> None:
    savepoint = application.transaction()
    await savepoint.start()
    match chance.randrange(4):
        case 0 | 1:
            await application.execute(BUDGETS, name, chance.randint(1, 3))
        case 2:
            await application.execute(
                "UPDATE budgets SET is_deleted = NOT is_deleted WHERE id LIKE $1", f"%{name[0]}_1"
            )
        case _:
            await application.execute("DELETE FROM budgets WHERE id LIKE $1", f"%{name[0]}_2")
    if chance.random() < 0.3:
        await savepoint.rollback()
    else:
        await savepoint.commit()


async def test_a_forecast_that_reaches_too_far_is_refused_and_so_is_one_that_is_stretched(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await conn.execute("UPDATE bf_shared.tenant_config SET forecast_horizon_limit = 24")
    async with working(application):
        await application.execute(FORECAST, "f1", 24)
    with over("forecast_horizon_limit", "24", "25", "acme_corp"):
        async with working(application):
            await application.execute(FORECAST, "f2", 25)
    with over("forecast_horizon_limit"):
        async with working(application):
            await application.execute("UPDATE forecasts SET forecast_horizon_months = 30")
    await conn.execute("UPDATE bf_shared.tenant_config SET forecast_horizon_limit = 12")
    async with working(application):  # what is there stays, and may be worked on
        await application.execute("UPDATE forecasts SET status = 'x'")
        await application.execute("UPDATE forecasts SET forecast_horizon_months = 18")
        await application.execute("UPDATE forecasts SET is_deleted = true")
    with over("forecast_horizon_limit", "18"):
        async with working(application):
            await application.execute("UPDATE forecasts SET is_deleted = false")


async def test_of_the_two_names_of_the_horizon_the_lower_one_holds(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await set_limits(conn, '{"max_forecast_horizon": 36}')
    with over("max_forecast_horizon", "36"):
        async with working(application):
            await application.execute(FORECAST, "f1", 37)
    await conn.execute("UPDATE bf_shared.tenant_config SET forecast_horizon_limit = 12")
    with over("forecast_horizon_limit", "12"):
        async with working(application):
            await application.execute(FORECAST, "f1", 13)


async def test_lowering_a_limit_below_use_is_allowed_reported_and_stops_growth(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    async with working(application):
        await application.execute(BUDGETS, "a", 5)
    heard: list[str] = []
    conn.add_log_listener(lambda _, message: heard.append(str(message)))
    await set_limits(conn, '{"max_budgets": 3}')
    assert any("max_budgets of tenant acme_corp is 3 now, and 5 are used" in message for message in heard)
    assert await events(conn) == [("max_budgets", 100, 5, 3)]
    async with working(application):
        await application.execute("DELETE FROM budgets WHERE id = 'a1'")
    with over("max_budgets"):
        async with working(application):
            await application.execute(BUDGETS, "b", 1)
    async with working(application):
        await application.execute("DELETE FROM budgets WHERE id IN ('a2', 'a3')")
        await application.execute(BUDGETS, "b", 1)
    assert await used(conn) == {"max_budgets": 3}


async def test_warn_leaves_an_event_at_80_and_at_100_percent_and_refuses_nothing(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await conn.execute("UPDATE bf_control.usage_limit SET enforcement = 'warn' WHERE name = 'max_budgets'")
    await set_limits(conn, '{"max_budgets": 10}')
    for number, expected in (
        (7, []),
        (1, [("max_budgets", 80, 8, 10)]),
        (1, [("max_budgets", 80, 8, 10)]),
        (1, [("max_budgets", 80, 8, 10), ("max_budgets", 100, 10, 10)]),
        (9, [("max_budgets", 80, 8, 10), ("max_budgets", 100, 10, 10)]),
    ):
        async with working(application):
            await application.execute(BUDGETS, secrets.token_hex(4), number)
        assert await events(conn) == expected
    async with working(application):
        await application.execute("DELETE FROM budgets")
        await application.execute(BUDGETS, "again", 19)
    assert len(await events(conn)) == 2  # one a day is enough


async def test_off_refuses_nothing_and_counts_all_the_same(
    conn: asyncpg.Connection, application: asyncpg.Connection
) -> None:
    await conn.execute("UPDATE bf_control.usage_limit SET enforcement = 'off' WHERE name = 'max_budgets'")
    await set_limits(conn, '{"max_budgets": 0}')
    async with working(application):
        await application.execute(BUDGETS, "a", 3)
    assert (await used(conn), await events(conn)) == ({"max_budgets": 3}, [])


async def test_an_application_can_neither_read_nor_change_what_counts_it(
    application: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    for statement in (
        "SELECT * FROM bf_control.usage_counter", "DELETE FROM bf_control.usage_delta",
        "UPDATE bf_control.tenant_limit SET value = 1", "SELECT bf_control.keep_limits('acme_corp', '{}')",
        "ALTER TABLE bf_acme_corp.budgets DISABLE TRIGGER usage_insert", "SET session_replication_role = replica",
        "SELECT bf_control.usage_begin('acme_corp', 'bf_acme_corp.budgets', 'max_budgets')",
    ):  # fmt: skip
        with subtests.test(statement), pytest.raises(asyncpg.InsufficientPrivilegeError):
            await application.execute(statement)


async def test_a_plan_made_while_the_table_of_deltas_was_small_looks_rows_up_by_their_transaction(
    superuser: asyncpg.Connection, tenant: str
) -> None:
    async with working(superuser):
        await superuser.execute(BUDGETS, "a", 1)
    before = await superuser.fetchval("SELECT pg_stat_get_numscans('bf_control.usage_delta'::regclass)")
    async with working(superuser):
        for number in range(50):
            await superuser.execute(BUDGETS, f"{number}_", 1)
    await superuser.execute(
        "SELECT pg_stat_force_next_flush()" if superuser.get_server_version().major > 14 else "SELECT 1"
    )
    assert await superuser.fetchval("SELECT pg_stat_get_numscans('bf_control.usage_delta'::regclass)") == before
