"""Verify and repair over REST and through the worker; looked at in the catalogue."""

import asyncio
import os
import random
from contextlib import suppress

import asyncpg

from app.audit.model import Origin
from app.db.pool import Database
from app.schema.expected import ExpectedTenants
from app.tenants import fleet, repairing, verifying
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.polling import until
from tests.support.problems import problem

_FULL = os.environ.get("BF_TEST_FULL") == "1"
_TESTS = Origin(actor="tests")
_WAIT = {"Prefer": "wait=30"}
_INVALID = "SELECT count(*) FROM pg_index WHERE NOT (indisvalid AND indisready AND indislive)"
_BUDGET = """
INSERT INTO bf_acme_corp.budgets (id, budget_name, budget_type, fiscal_year, budget_period_start, budget_period_end)
SELECT n::text, 'B', 'annual', 2025, '2025-01-01', '2025-12-31' FROM generate_series($1::integer, $2) AS n
"""


async def _fill(superuser: asyncpg.Connection, first: int, last: int) -> None:
    """A superuser writes past every policy."""
    async with superuser.transaction():
        await superuser.execute("SELECT bf_shared.set_tenant_context('acme_corp', 'u')")
        await superuser.execute(_BUDGET, first, last)


async def test_what_differs_is_named_planned_mended_and_recorded(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    verified = (await api.client.post("/v1/tenants/acme_corp/verify")).json()
    assert verified == {"ok": True, "missing": [], "extra": [], "altered": []}
    await conn.execute("DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status")
    await conn.execute("ALTER TABLE bf_acme_corp.budgets NO FORCE ROW LEVEL SECURITY")
    await conn.execute("GRANT TRUNCATE ON bf_acme_corp.budgets TO app_role")
    await conn.execute("CREATE TABLE bf_acme_corp.theirs (id integer)")
    found = (await api.client.post("/v1/tenants/acme_corp/verify")).json()
    assert not found["ok"]
    assert [(one["kind"], one["name"]) for one in found["missing"]] == [
        ("index", "budgets.idx_acme_corp_budgets_status")
    ]
    assert found["altered"] == [
        {"kind": "relation", "name": "budgets", "expected": "row security forced", "actual": None}
    ]
    assert ("relation grant", "budgets TRUNCATE to app_role") in [(one["kind"], one["name"]) for one in found["extra"]]

    before = await superuser.fetchval("SELECT count(*) FROM bf_control.operation")
    dry = await api.client.post("/v1/tenants/acme_corp/repair", params={"validate_only": "true"})
    assert dry.status_code == 200
    assert "ALTER TABLE bf_acme_corp.budgets FORCE ROW LEVEL SECURITY" in [
        text for step in dry.json()["steps"] for text in step["statements"]
    ]
    assert "theirs" in [one["name"] for one in dry.json()["kept"]]
    assert await superuser.fetchval("SELECT count(*) FROM bf_control.operation") == before
    assert not (await api.client.post("/v1/tenants/acme_corp/verify")).json()["ok"]

    done = await api.client.post("/v1/tenants/acme_corp/repair", headers={**_WAIT, "Idempotency-Key": "r"})
    assert (done.status_code, done.json()["status"]) == (200, "succeeded"), done.text
    result = done.json()["result"]
    assert result["made"] == ["index budgets.idx_acme_corp_budgets_status"]
    assert result["removed"] == ["relation grant budgets TRUNCATE to app_role"]
    assert result["altered"] == ["relation budgets"]
    assert "relation theirs" in result["kept"]
    again = await api.client.post("/v1/tenants/acme_corp/repair", headers={"Idempotency-Key": "r"})
    assert again.json()["id"] == done.json()["id"]
    after = (await api.client.post("/v1/tenants/acme_corp/verify")).json()
    assert (after["missing"], after["altered"]) == ([], [])
    assert {one["name"].split(" ")[0].split(".")[0] for one in after["extra"]} == {"theirs"}
    rows = await superuser.fetch(
        "SELECT action, outcome FROM bf_control.audit WHERE target = 'tenant/acme_corp' ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("tenant.repair", "accepted"),
        ("tenant.mend", "succeeded"),
        ("tenant.repair", "succeeded"),
    ]

    body = {"drop_extra": True}
    dropped = await api.client.post("/v1/tenants/acme_corp/repair", json=body, headers=_WAIT)
    assert dropped.json()["result"]["kept"] == []
    assert (await api.client.post("/v1/tenants/acme_corp/verify")).json()["ok"]
    kept = await superuser.fetchrow("SELECT drift, fingerprint FROM bf_control.verification")
    assert kept["drift"] is None


async def test_a_tenant_is_compared_with_what_its_state_says(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await suspend(conn)
    assert (await idle_api.client.post("/v1/tenants/acme_corp/verify")).json()["ok"]
    await conn.execute("GRANT USAGE ON SCHEMA bf_acme_corp TO app_role")
    found = (await idle_api.client.post("/v1/tenants/acme_corp/verify")).json()
    assert [(one["kind"], one["actual"]) for one in found["extra"]] == [("schema grant", "USAGE to app_role")]
    problem(await idle_api.client.post("/v1/tenants/nobody/verify"), 404, "tenant_not_found")
    await idle_api.client.put("/v1/tenants/coming", json={"tenant_name": "C"})
    problem(await idle_api.client.post("/v1/tenants/coming/verify"), 409, "tenant_state_forbids")
    problem(await idle_api.client.post("/v1/tenants/coming/repair"), 409, "tenant_state_forbids")
    problem(await idle_api.client.post("/v1/tenants/acme_corp/repair", json={"all": True}), 422, "validation_failed")


async def test_what_rows_forbid_fails_and_is_named_and_the_rest_is_mended(
    api: Api,
    conn: asyncpg.Connection,
    superuser: asyncpg.Connection,
    database: Database,
    expected: ExpectedTenants,
) -> None:
    await make_tenant(conn)
    await conn.execute("ALTER TABLE bf_acme_corp.budgets DROP CONSTRAINT budgets_fiscal_year_check")
    await _fill(superuser, 1, 3)
    async with conn.transaction():
        await conn.execute("ALTER TABLE bf_acme_corp.budgets NO FORCE ROW LEVEL SECURITY")
        await conn.execute("UPDATE bf_acme_corp.budgets SET fiscal_year = 1999")
        await conn.execute("ALTER TABLE bf_acme_corp.budgets ALTER COLUMN budget_code TYPE text")
        await conn.execute("UPDATE bf_acme_corp.budgets SET budget_code = repeat('x', 60)")
        await conn.execute("ALTER TABLE bf_acme_corp.budgets FORCE ROW LEVEL SECURITY")
    await conn.execute("DROP POLICY tenant_isolation_budgets ON bf_acme_corp.budgets")
    done = (await api.client.post("/v1/tenants/acme_corp/repair", headers=_WAIT)).json()
    assert (done["status"], done["error"]["code"]) == ("failed", "tenant_not_repaired")
    assert "budgets.budgets_fiscal_year_check (check constraint" in done["error"]["detail"]
    assert "column budgets.budget_code (its rows hold values" in done["error"]["detail"]
    found = (await verifying.verify(database, expected, "acme_corp")).found.difference
    assert {str(one) for one in (*found.missing, *found.altered)} == {
        "constraint budgets.budgets_fiscal_year_check",
        "column budgets.budget_code",
    }, "the policy is there, FORCE is, and the CHECK holds for new rows"


async def test_rows_that_came_while_no_trigger_counted_are_counted(
    conn: asyncpg.Connection, superuser: asyncpg.Connection, database: Database, expected: ExpectedTenants
) -> None:
    await make_tenant(conn)
    await conn.execute("ALTER TABLE bf_acme_corp.budgets DISABLE TRIGGER usage_insert")
    await _fill(superuser, 1, 5)
    done = await repairing.run(database, expected, "acme_corp", drop_extra=False, origin=_TESTS)
    assert done.repair.after.ok
    used = "SELECT used FROM bf_control.usage_counter WHERE tenant_id = 'acme_corp' AND limit_name = 'max_budgets'"
    assert await conn.fetchval(used) == 5


async def test_an_index_whose_concurrent_build_was_killed_is_built(
    conn: asyncpg.Connection,
    superuser: asyncpg.Connection,
    dsn: str,
    database: Database,
    expected: ExpectedTenants,
) -> None:
    await make_tenant(conn)
    await _fill(superuser, 1, 2000)
    seed = int(os.environ.get("BF_TEST_SEED", "20250101"))
    print(f"seed {seed}: set BF_TEST_SEED to replay another")  # noqa: T201
    chance = random.Random(seed)  # noqa: S311
    names = [
        row[0]
        for row in await conn.fetch(
            "SELECT indexname::text FROM pg_indexes WHERE schemaname = 'bf_acme_corp' AND tablename = 'budgets' "
            "AND indexname LIKE 'idx%' ORDER BY 1"
        )
    ]
    left = 0
    for _ in range(50 if _FULL else 3):
        name = chance.choice(names)
        definition = await conn.fetchval("SELECT pg_get_indexdef($1::regclass)", f"bf_acme_corp.{name}")
        await conn.execute(f"DROP INDEX bf_acme_corp.{name}")
        # Somebody with an old snapshot keeps the build from ending.
        async with superuser.transaction(isolation="repeatable_read"):
            await superuser.fetch("SELECT count(*) FROM bf_acme_corp.budgets")
            builder = await asyncpg.connect(dsn)
            pid = builder.get_server_pid()
            building = asyncio.create_task(builder.execute(definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)))
            await until(lambda: conn.fetchval(_INVALID))
            await asyncio.sleep(chance.uniform(0, 0.05))
            await conn.fetchval("SELECT pg_terminate_backend($1)", pid)
            with suppress(asyncpg.PostgresError, ConnectionError):
                await building
            builder.terminate()
        left += await conn.fetchval(_INVALID)
        done = await repairing.run(database, expected, "acme_corp", drop_extra=False, origin=_TESTS)
        assert done.repair.after.ok, done.repair.after.summary()
        assert await conn.fetchval(_INVALID) == 0
    assert left > 0
    assert (await verifying.verify(database, expected, "acme_corp")).found.difference.ok


async def test_the_fleet_is_verified_and_repaired_one_by_one(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    for tenant_id in ("acme_corp", "globex", "initech"):
        await make_tenant(conn, tenant_id)
    await suspend(conn, "initech")
    await conn.execute("DROP POLICY audit_access_budgets ON bf_globex.budgets")
    await conn.execute("ALTER TABLE bf_initech.budgets DISABLE ROW LEVEL SECURITY")
    found = (await api.client.post("/v1/schema/verify", headers=_WAIT)).json()
    assert (found["kind"], found["status"]) == ("fleet.verify", "succeeded"), found
    result = found["result"]
    assert (result["verified"], result["drifted"]) == (3, 2)
    assert result["tenants"]["drifted"]["globex"]["missing"] == ["policy budgets.audit_access_budgets"]
    drifted = "SELECT array_agg(tenant_id::text ORDER BY 1) FROM bf_control.verification WHERE drift IS NOT NULL"
    assert await superuser.fetchval(drifted) == ["globex", "initech"]
    done = (await api.client.post("/v1/schema/repair", headers=_WAIT)).json()
    assert (done["status"], done["result"]["repaired"], done["result"]["drifted"]) == ("succeeded", 2, 0), done
    assert done["progress"] == {"done": 3, "total": 3}
    assert await superuser.fetchval(drifted) is None


async def test_one_tenant_that_cannot_be_mended_stops_no_other(
    conn: asyncpg.Connection, superuser: asyncpg.Connection, database: Database, expected: ExpectedTenants
) -> None:
    for tenant_id in ("acme_corp", "globex"):
        await make_tenant(conn, tenant_id)
        await conn.execute(f"DROP POLICY audit_access_budgets ON bf_{tenant_id}.budgets")
    await superuser.execute("ALTER TABLE bf_acme_corp.scenarios OWNER TO postgres")
    done = await fleet.repair_all(database, expected, drop_extra=False, origin=_TESTS)
    assert done.failed.keys() == {"acme_corp"} == done.drifted.keys()
    assert "scenarios" in done.failed["acme_corp"]
    assert "relation scenarios (must be owner of table scenarios)" in done.failed["acme_corp"]
    policies = "SELECT count(*) FROM pg_policies WHERE policyname = 'audit_access_budgets'"
    assert await conn.fetchval(policies) == 2
