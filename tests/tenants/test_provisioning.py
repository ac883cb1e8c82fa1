"""From a request to a tenant that the catalogue shows."""

import asyncio

import asyncpg
import pytest

from app.apikeys.model import Role
from app.db.pool import Database
from app.schema.expected import ExpectedTenants
from app.settings import Settings
from tests.support import oracle
from tests.support.api import Api, running_api
from tests.support.data import LATEST, schemas, settings_for
from tests.support.problems import problem

_BODY = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}


async def test_a_waited_post_answers_201_with_the_active_tenant(api: Api, conn: asyncpg.Connection) -> None:
    response = await api.provision("acme_corp")
    assert response.status_code == 201
    assert response.headers["location"] == "/v1/tenants/acme_corp"
    assert response.headers["preference-applied"] == "wait=20"
    assert response.json()["state"] == "active"
    tables = await conn.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'bf_acme_corp'")
    assert tables == 6


async def test_the_catalogue_of_a_provisioned_tenant_is_the_expected_one(
    api: Api, database: Database, expected: ExpectedTenants
) -> None:
    await api.provision("global_inc")
    await expected.prepare(LATEST)
    async with database.transaction() as conn:
        difference = await expected.difference(
            conn, tenant_id="global_inc", schema_name="bf_global_inc", version=LATEST
        )
    assert difference.ok, difference.summary()


async def test_a_tenant_reads_back_with_every_member_of_the_contract(api: Api, settings: Settings) -> None:
    created = (await api.provision("acme_corp", created_by="admin_user_123", subscription_tier="premium")).json()
    assert created == (await api.client.get("/v1/tenants/acme_corp")).json()
    assert created["tenant_name"] == "ACME Corporation"
    assert (created["is_active"], created["schema_name"], created["schema_version"]) == (True, "bf_acme_corp", LATEST)
    assert (created["subscription_tier"], created["created_by"]) == ("premium", "admin_user_123")
    assert created["created_at"].endswith("Z")
    assert created["updated_at"] >= created["created_at"]
    operation = (await api.client.get(created["last_operation"])).json()
    assert (operation["status"], operation["kind"], operation["attempts"]) == ("succeeded", "tenant.provision", 1)
    assert operation["result"] == {"tenant_id": "acme_corp", "schema_version": LATEST}
    assert [(step["name"], step["status"]) for step in operation["steps"]] == [
        ("setup_tenant", "succeeded"),
        ("verify_catalogue", "succeeded"),
    ]
    assert operation["created_at"] <= operation["started_at"] <= operation["finished_at"]
    await oracle.assert_clean(settings.direct_dsn())


async def test_the_history_says_that_the_service_made_it_and_for_whom(api: Api, conn: asyncpg.Connection) -> None:
    await api.provision("acme_corp")
    row = await conn.fetchrow("SELECT source, user_context FROM bf_control.tenant_config_history")
    assert row is not None
    assert row["source"] == "api"
    assert row["user_context"].startswith("key:")


async def test_without_a_preference_the_answer_is_202_with_the_operation(idle_api: Api) -> None:
    response = await idle_api.client.post("/v1/tenants", json=_BODY)
    assert response.status_code == 202
    assert response.headers["location"] == "/v1/tenants/acme_corp"
    operation = response.json()
    assert response.headers["operation-location"] == f"/v1/operations/{operation['id']}"
    assert (operation["status"], operation["tenant_id"], operation["attempts"]) == ("queued", "acme_corp", 0)
    polled = await idle_api.client.get(response.headers["operation-location"])
    assert polled.json() == operation
    assert int(polled.headers["retry-after"]) >= 1
    tenant = (await idle_api.client.get("/v1/tenants/acme_corp")).json()
    assert (tenant["state"], tenant["schema_version"], tenant["is_active"]) == ("provisioning", None, False)


async def test_a_wait_that_is_too_short_answers_202_in_time(idle_api: Api) -> None:
    begun = asyncio.get_running_loop().time()
    response = await idle_api.client.post("/v1/tenants", json=_BODY, headers={"Prefer": "respond-async, wait=1"})
    assert 0.9 <= asyncio.get_running_loop().time() - begun < 2.5
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "wait=1"
    assert response.json()["status"] == "queued"


async def test_a_preference_that_makes_no_sense_is_ignored(idle_api: Api, subtests: pytest.Subtests) -> None:
    for number, prefer in enumerate(("wait=-1", "wait", "wait=soon", "wait=1000000000000", "return=minimal", "")):
        with subtests.test(prefer):
            body = {**_BODY, "tenant_id": f"acme_{number}"}
            response = await idle_api.client.post("/v1/tenants", json=body, headers={"Prefer": prefer})
            assert response.status_code == 202
            assert "preference-applied" not in response.headers


async def test_what_a_request_sets_is_the_configuration_of_the_tenant(api: Api, conn: asyncpg.Connection) -> None:
    response = await api.provision(
        "acme_corp",
        subscription_tier="premium",
        features_enabled=["ai_insights", "advanced_forecasting", "ai_insights"],
        limits={"max_budget_lines": 500000, "max_budgets": 500},
        config={"default_currency": "EUR", "time_zone": "Europe/Berlin", "budget_features": {"x": [1, None, "é"]}},
        integrations={"auth_rbac": {"realm": "acme"}},
    )
    assert response.status_code == 201, response.text
    row = await conn.fetchrow(
        """SELECT features_enabled::text, max_budget_lines, usage_limits::text, default_currency, time_zone,
                  budget_features::text, apg_integrations::text, subscription_tier, forecast_horizon_limit
             FROM bf_shared.tenant_config WHERE tenant_id = 'acme_corp'"""
    )
    assert tuple(row) == (
        '["ai_insights", "advanced_forecasting"]', 500000, '{"max_budgets": 500}', "EUR", "Europe/Berlin",
        '{"x": [1, null, "é"]}', '{"auth_rbac": {"realm": "acme"}}', "premium", 60,
    )  # fmt: skip


async def test_a_tenant_that_exists_is_409_and_says_its_state(api: Api) -> None:
    await api.provision("acme_corp")
    body = problem(await api.provision("acme_corp"), 409, "tenant_exists")
    assert body["state"] == "active"
    assert (await api.client.get("/v1/tenants/acme_corp")).json()["state"] == "active"


async def test_a_tenant_that_is_being_provisioned_is_409_and_names_the_operation(idle_api: Api) -> None:
    first = await idle_api.client.post("/v1/tenants", json=_BODY)
    body = problem(await idle_api.client.post("/v1/tenants", json=_BODY), 409, "tenant_being_provisioned")
    assert body["operation"] == first.headers["operation-location"]


async def test_a_request_that_rolls_back_leaves_no_job(idle_api: Api, conn: asyncpg.Connection) -> None:
    """The job is enqueued in the transaction of the request: what fails after it takes it along."""
    await conn.execute(
        """CREATE FUNCTION bf_control.refuse() RETURNS trigger LANGUAGE plpgsql AS
               $$BEGIN RAISE EXCEPTION 'a test refuses this' USING ERRCODE = 'serialization_failure'; END$$;
           CREATE TRIGGER refuse BEFORE INSERT ON bf_control.audit FOR EACH ROW EXECUTE FUNCTION bf_control.refuse()"""
    )
    response = await idle_api.client.post("/v1/tenants", json=_BODY, headers={"Idempotency-Key": "once"})
    problem(response, 503, "database_busy")
    for table in ("bf_queue.pgqueuer", "bf_control.operation", "bf_control.tenant", "bf_control.idempotency_key"):
        assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
    await conn.execute("DROP TRIGGER refuse ON bf_control.audit")
    again = await idle_api.client.post("/v1/tenants", json=_BODY, headers={"Idempotency-Key": "once"})
    assert again.status_code == 202
    assert await conn.fetchval("SELECT dedupe_key FROM bf_queue.pgqueuer") == again.json()["id"]


async def test_before_the_first_upgrade_a_tenant_is_409_and_the_mend_is_named(
    empty_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = settings_for(empty_dsn, bootstrap_admin_key_file=tmp_path_factory.mktemp("key") / "admin-key")
    async with running_api(settings, with_worker=True) as api:
        body = problem(await api.provision(), 409, "schema_not_installed")
        assert "/v1/schema/upgrade" in body["detail"]
        assert (await api.client.get("/v1/tenants")).json() == {"items": []}
        problem(await api.client.get("/v1/tenants/acme_corp"), 404, "tenant_not_found")


async def test_the_name_of_the_key_is_who_created_a_tenant(idle_api: Api, conn: asyncpg.Connection) -> None:
    key = await idle_api.key(Role.OPERATOR)
    response = await idle_api.client.post("/v1/tenants", json=_BODY, headers={"Authorization": f"Bearer {key}"})
    assert response.status_code == 202
    assert (await idle_api.client.get("/v1/tenants/acme_corp")).json()["created_by"] == "test operator"
    row = await conn.fetchrow("SELECT actor, action, target, outcome, request_id FROM bf_control.audit")
    key_id = key.partition(".")[0].removeprefix("bfk_")
    assert tuple(row) == (
        f"key:{key_id}", "tenant.create", "tenant/acme_corp", "accepted", response.headers["x-request-id"],
    )  # fmt: skip


async def test_psql_and_rest_make_the_same_tenant_and_meet_in_the_registry(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    await conn.execute("SELECT bf_shared.setup_tenant('from_psql', 'By hand', 'dba')")
    assert (await api.client.get("/v1/tenants/from_psql")).json()["state"] == "active"
    problem(await api.provision("from_psql"), 409, "tenant_exists")
    await api.provision("from_rest")
    with pytest.raises(asyncpg.UniqueViolationError):
        await conn.execute("SELECT bf_shared.setup_tenant('from_rest', 'By hand', 'dba')")
    assert {"bf_from_psql", "bf_from_rest"} <= await schemas(conn)
    await oracle.assert_clean(settings.direct_dsn())
