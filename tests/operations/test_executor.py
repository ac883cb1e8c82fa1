"""The runner: tried again where that helps, and otherwise failed with the cause."""

import asyncio
from uuid import UUID, uuid4

import asyncpg
import httpx
import pytest

from app.audit.model import Origin
from app.db.pool import Database
from app.operations import queries, service
from app.operations.model import Claim, Kind, Status
from app.operations.service import ClaimLost, Steps
from app.schema.expected import ExpectedTenants
from app.schema.script import Target
from app.settings import Settings
from app.tenants import service as tenants
from tests.support import oracle
from tests.support.api import Api
from tests.support.data import LATEST, schemas
from tests.support.polling import ended, until
from tests.support.problems import problem

_BODY = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}

# Refuses a tenant whose name is `refuse SQLSTATE TIMES`; a sequence forgets nothing when a transaction rolls back.
_REFUSE = """
CREATE FUNCTION bf_control.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wish text[] := regexp_match(NEW.tenant_name, '^refuse (.{5}) (.+)$');
BEGIN
    IF nextval('bf_control.tries_' || NEW.tenant_id) <= wish[2]::bigint THEN
        RAISE EXCEPTION 'a test refuses this' USING ERRCODE = wish[1];
    END IF;
    RETURN NEW;
END$$;
CREATE TRIGGER refuse BEFORE INSERT ON bf_shared.tenant_config FOR EACH ROW EXECUTE FUNCTION bf_control.refuse()
"""
# What setup_tenant() is replaced by: it says yes and does nothing.
_LIE = """
CREATE OR REPLACE FUNCTION bf_shared.setup_tenant(tenant_id text, tenant_name text, created_by text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN true; END $$
"""
# The same, but it also writes what a tenant is, without building it.
_BIG_LIE = """
CREATE OR REPLACE FUNCTION bf_shared.setup_tenant(tenant_id text, tenant_name text, created_by text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    UPDATE bf_control.tenant t
       SET state = 'active', schema_version = (SELECT max(s.version) FROM bf_control.tenant_statement s)
     WHERE t.tenant_id = setup_tenant.tenant_id;
    RETURN true;
END $$
"""
_DEFINITION = "SELECT pg_get_functiondef('bf_shared.setup_tenant(text, text, text)'::regprocedure)"


async def _refused(api: Api, conn: asyncpg.Connection, tenant_id: str, sqlstate: str, times: int) -> httpx.Response:
    """A waited POST of a tenant that is refused so many times."""
    await conn.execute(f"CREATE SEQUENCE bf_control.tries_{tenant_id}")
    return await api.provision(tenant_id, tenant_name=f"refuse {sqlstate} {times}")


async def test_a_transient_refusal_is_tried_again(
    api: Api, conn: asyncpg.Connection, settings: Settings, subtests: pytest.Subtests
) -> None:
    await conn.execute(_REFUSE)
    states = ("40001", "40P01", "55P03", "53200")
    for sqlstate in states:
        await conn.execute(f"CREATE SEQUENCE bf_control.tries_t_{sqlstate}")
    responses = await asyncio.gather(
        *(api.provision(f"t_{state.lower()}", tenant_name=f"refuse {state} 1") for state in states)
    )
    for response, sqlstate in zip(responses, states, strict=True):
        with subtests.test(sqlstate):
            assert response.status_code == 201, response.text
            operation = (await api.client.get(response.headers["operation-location"])).json()
            assert (operation["status"], operation["attempts"], operation["error"]) == ("succeeded", 2, None)
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_lock_that_is_held_too_long_delays_a_tenant_and_no_more(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> None:
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_shared.tenant_config IN SHARE MODE")
        response = await api.client.post("/v1/tenants", json=_BODY)
        location = response.headers["operation-location"]

        async def gave_way() -> bool:
            operation = (await api.client.get(location)).json()
            # The pause before the next try is random, and may be too short to be seen.
            return (operation["status"], operation["attempts"]) == ("queued", 1) or operation["attempts"] > 1

        await until(gave_way, what="the lock_timeout of 5 s")
        assert "bf_acme_corp" not in await schemas(conn)
    operation = await ended(api.client, location)
    assert operation["status"] == "succeeded", operation
    assert operation["attempts"] >= 2
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_refusal_that_does_not_end_fails_the_operation_after_five_tries(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    await conn.execute(_REFUSE)
    response = await _refused(api, conn, "acme_corp", "40001", 1000)
    operation = await ended(api.client, response.headers["operation-location"], within=60)
    assert (operation["status"], operation["attempts"]) == ("failed", 5)
    assert operation["error"]["code"] == "database_busy"
    assert "a test refuses this" in operation["error"]["detail"]
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_what_no_second_try_helps_fails_at_once_and_names_the_cause(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    await conn.execute(_REFUSE)
    response = await _refused(api, conn, "acme_corp", "23514", 1)
    assert response.status_code == 202
    operation = response.json()
    assert (operation["status"], operation["attempts"]) == ("failed", 1)
    assert operation["error"]["code"] == "database_error"
    assert "a test refuses this" in operation["error"]["detail"]
    assert operation["steps"][-1]["status"] == "failed"
    tenant = (await api.client.get("/v1/tenants/acme_corp")).json()
    assert (tenant["state"], tenant["schema_version"], tenant["is_active"]) == ("failed", None, False)
    assert tenant["error"]["detail"] == operation["error"]["detail"]
    assert tenant["last_operation"] == f"/v1/operations/{operation['id']}"
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_tenant_left_failed_is_repaired_by_the_same_request(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    await conn.execute(_REFUSE + "; CREATE SEQUENCE bf_control.tries_acme_corp")
    body = {**_BODY, "tenant_name": "refuse 23514 1"}
    failed = await api.client.post("/v1/tenants", json=body, headers={"Idempotency-Key": "k1", "Prefer": "wait=20"})
    assert failed.json()["status"] == "failed"
    for other in ({**body, "tenant_name": "Another"}, {**body, "subscription_tier": "premium"}):
        problem(await api.client.post("/v1/tenants", json=other), 409, "tenant_request_differs")
    replay = await api.client.post("/v1/tenants", json=body, headers={"Idempotency-Key": "k1"})
    assert replay.headers["idempotent-replayed"] == "true"
    repaired = await api.client.post("/v1/tenants", json=body, headers={"Idempotency-Key": "k2", "Prefer": "wait=20"})
    assert repaired.status_code == 201, repaired.text
    assert (repaired.json()["state"], repaired.json()["error"]) == ("active", None)
    assert repaired.json()["last_operation"] != f"/v1/operations/{failed.json()['id']}"
    problem(await api.client.post("/v1/tenants", json=body), 409, "tenant_exists")
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_setup_tenant_that_lies_makes_no_tenant(api: Api, conn: asyncpg.Connection, settings: Settings) -> None:
    honest = await conn.fetchval(_DEFINITION)
    for number, lie in enumerate((_LIE, _BIG_LIE)):
        await conn.execute(lie)
        operation = (await api.provision(f"t{number}")).json()
        assert (operation["status"], operation["error"]["code"]) == ("failed", "catalogue_mismatch")
        assert (await api.client.get(f"/v1/tenants/t{number}")).json()["state"] == "failed"
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())
    await conn.execute(honest)
    assert (await api.provision("t1")).status_code == 201


async def test_a_setup_tenant_that_leaves_something_out_makes_no_tenant(
    api: Api, conn: asyncpg.Connection, settings: Settings, subtests: pytest.Subtests
) -> None:
    honest = await conn.fetchval(_DEFINITION)
    undone = {
        "policy scenarios.tenant_isolation_scenarios": "DROP POLICY tenant_isolation_scenarios ON %I.scenarios",
        "relation budgets": "ALTER TABLE %I.budgets NO FORCE ROW LEVEL SECURITY",
        "constraint budgets.budgets_tenant_check": "ALTER TABLE %I.budgets DROP CONSTRAINT budgets_tenant_check",
        "index budgets.idx_t3_budgets_status": "DROP INDEX %I.idx_t3_budgets_status",
        "trigger budget_lines.touch_row": "DROP TRIGGER touch_row ON %I.budget_lines",
        "relation grant forecasts SELECT to app_role": "REVOKE SELECT ON %I.forecasts FROM app_role",
        "relation grant budgets SELECT to public": "GRANT SELECT ON %I.budgets TO public",
        "leftover": "CREATE TABLE %I.leftover ()",
        "column budgets.more": "ALTER TABLE %I.budgets ADD COLUMN more int",
    }
    for number, (named, undo) in enumerate(undone.items()):
        with subtests.test(named):
            assert honest.count("RETURN true;") == 1
            undoing = f"EXECUTE format('{undo}', registered.schema_name); RETURN true;"
            await conn.execute(honest.replace("RETURN true;", undoing))
            operation = (await api.provision(f"t{number}")).json()
            assert (operation["status"], operation["error"]["code"]) == ("failed", "catalogue_mismatch"), operation
            assert named in operation["error"]["detail"], operation["error"]
            assert (await api.client.get(f"/v1/tenants/t{number}")).json()["state"] == "failed"
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_missing_privilege_is_named_with_the_statement_that_grants_it(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, settings: Settings
) -> None:
    name = await superuser.fetchval("SELECT current_database()")
    await superuser.execute(f'REVOKE CREATE ON DATABASE "{name}" FROM bf_migrator')
    operation = (await api.provision()).json()
    assert (operation["status"], operation["error"]["code"]) == ("failed", "privilege_missing")
    assert f"GRANT CREATE ON DATABASE {name} TO bf_migrator" in operation["error"]["detail"]
    await superuser.execute(f'GRANT CREATE ON DATABASE "{name}" TO bf_migrator')
    assert (await api.provision()).status_code == 201
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_a_schema_of_somebody_else_is_left_alone(api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute("CREATE SCHEMA bf_acme_corp; CREATE TABLE bf_acme_corp.precious AS SELECT 42 AS n")
    operation = (await api.provision()).json()
    assert operation["status"] == "failed"
    assert "bf_acme_corp" in operation["error"]["detail"]
    assert await conn.fetchval("SELECT n FROM bf_acme_corp.precious") == 42


async def _claim(database: Database, operation_id: UUID) -> Claim:
    async with database.transaction() as conn:
        claim = await queries.claim(conn, operation_id)
    assert claim is not None
    return claim


async def test_a_stale_claim_writes_nothing(database: Database) -> None:
    operation_id = uuid4()
    async with database.transaction() as conn:
        await service.request(conn, operation_id, Kind.SCHEMA_UPGRADE, origin=Origin(actor="tests"), queued=False)
    stale, current = await _claim(database, operation_id), await _claim(database, operation_id)
    assert (stale.operation.attempts, current.operation.attempts) == (1, 2)
    async with database.transaction() as conn:
        with pytest.raises(ClaimLost):
            await service.require_claim(conn, stale)
    async with database.transaction() as conn:
        with pytest.raises(ClaimLost):
            await service.succeed(conn, stale, result={"by": "stale"}, steps=Steps())
        with pytest.raises(ClaimLost):
            await service.finish(conn, stale, Status.FAILED, error={"by": "stale"}, steps=Steps())
    async with database.transaction() as conn:
        assert not await queries.release(conn, stale)
        await service.succeed(conn, current, result={"by": "current"}, steps=Steps())
    with pytest.raises(ClaimLost):
        async with database.transaction() as conn:
            await service.succeed(conn, current, result={"by": "twice"}, steps=Steps())
    async with database.connection() as conn:
        operation = await service.require(conn, str(operation_id))
        assert await queries.claim(conn, operation_id) is None
    assert operation.result == {"by": "current"}


async def test_a_worker_that_was_taken_over_rolls_back_the_tenant_it_built(
    idle_api: Api, database: Database, expected: ExpectedTenants, conn: asyncpg.Connection
) -> None:
    operation_id = UUID((await idle_api.client.post("/v1/tenants", json=_BODY)).json()["id"])
    await expected.prepare(LATEST)
    stale, current = await _claim(database, operation_id), await _claim(database, operation_id)
    with pytest.raises(ClaimLost):
        async with database.transaction() as doing:
            await tenants.provision(doing, stale, expected, Target(), steps=Steps())
    assert "bf_acme_corp" not in await schemas(conn)
    async with database.transaction() as doing:
        await tenants.provision(doing, current, expected, Target(), steps=Steps())
    assert "bf_acme_corp" in await schemas(conn)


async def test_an_operation_whose_job_was_lost_is_queued_again(idle_api: Api, conn: asyncpg.Connection) -> None:
    """A queue that was restored or truncated: the sweep of every worker looks for what nobody would finish."""
    await idle_api.client.post("/v1/tenants", json=_BODY)
    await conn.execute("DELETE FROM bf_queue.pgqueuer")
    async with idle_api.database.transaction() as sweeping:
        assert await service.requeue_lost(sweeping) == 0, "it may be about to be claimed"
    await conn.execute("UPDATE bf_control.operation SET created_at = now() - interval '6 seconds'")
    for found in (1, 0):
        async with idle_api.database.transaction() as sweeping:
            assert await service.requeue_lost(sweeping) == found
    job = await conn.fetchval("SELECT dedupe_key FROM bf_queue.pgqueuer WHERE status = 'queued'")
    assert job == str(await conn.fetchval("SELECT id FROM bf_control.operation"))


async def test_an_operation_that_is_none_is_404(idle_api: Api) -> None:
    for wanted in ("x", "0", "00000000-0000-0000-0000-000000000000", "%00", "' OR 1=1", "g" * 36, "1" * 10_000):
        problem(await idle_api.client.get(f"/v1/operations/{wanted}"), 404, "operation_not_found")
