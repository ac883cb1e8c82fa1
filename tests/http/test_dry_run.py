"""validate_only=true: the same checks and permissions as without it, and nothing of it stays."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, schemas, settings_for
from tests.support.problems import problem
from tests.support.tables import counts

_DRY = {"validate_only": "true"}
_BODY = {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"}
_CONTENTS = """
SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM bf_control.tenant t
"""


async def _state(conn: asyncpg.Connection) -> tuple[dict[str, int], set[str], str | None]:
    return await counts(conn), await schemas(conn), await conn.fetchval(_CONTENTS)


@pytest.fixture
async def nothing_stays(api: Api, superuser: asyncpg.Connection) -> AsyncIterator[None]:
    """After the test every table has as many rows as when the process was ready, and there is no new schema."""
    assert api.services.readiness.ready
    before = await _state(superuser)
    yield
    assert await _state(superuser) == before


async def _post(api: Api, body: Any = _BODY, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.client.post("/v1/tenants", params=_DRY, json=body, headers=named)


@pytest.mark.usefixtures("nothing_stays")
async def test_a_creation_answers_with_the_tenant_as_it_would_be(api: Api) -> None:
    answer = await _post(api, {**_BODY, "subscription_tier": "premium"}, Prefer="wait=20", Idempotency_Key="dry")
    assert answer.status_code == 200, answer.text
    tenant = answer.json()
    assert (tenant["tenant_id"], tenant["state"], tenant["schema_name"]) == (
        "acme_corp",
        "provisioning",
        "bf_acme_corp",
    )
    assert (tenant["schema_version"], tenant["subscription_tier"]) == (None, "premium")
    assert tenant["last_operation"] is None, "that one is rolled back"
    assert not {"location", "operation-location", "etag", "preference-applied"} & answer.headers.keys()
    put = await api.client.put("/v1/tenants/acme_corp", params=_DRY, json={"tenant_name": "ACME Corporation"})
    assert (put.status_code, put.json()["tenant_name"]) == (200, "ACME Corporation")
    assert put.json()["last_operation"] is None
    problem(await api.client.get("/v1/tenants/acme_corp"), 404, "tenant_not_found")


async def test_the_key_of_a_dry_run_is_free_for_what_follows(idle_api: Api) -> None:
    assert (await _post(idle_api, Idempotency_Key="k1")).status_code == 200
    real = await idle_api.client.post("/v1/tenants", json=_BODY, headers={"Idempotency-Key": "k1"})
    assert real.status_code == 202
    assert "idempotent-replayed" not in real.headers
    problem(await _post(idle_api, Idempotency_Key="k1"), 409, "tenant_being_provisioned")


async def test_of_what_is_there_already_it_names_the_operation_that_made_it(idle_api: Api) -> None:
    path = "/v1/tenants/acme_corp"
    made = await idle_api.client.put(path, json={"tenant_name": "ACME"})
    dry = await idle_api.client.put(path, params=_DRY, json={"tenant_name": "ACME"})
    assert dry.json()["last_operation"] == made.headers["operation-location"]


async def test_what_would_be_refused_is_refused(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    await make_tenant(conn, "taken")
    before = await _state(superuser)
    for body, status, code in (
        ({**_BODY, "tenant_id": "taken"}, 409, "tenant_exists"),
        ({**_BODY, "tenant_id": "pg_x"}, 422, "validation_failed"),
        ({**_BODY, "state": "active"}, 422, "validation_failed"),
        ({**_BODY, "config": {"default_currency": "XXX"}}, 422, "validation_failed"),
        ({**_BODY, "config": {"external_systems": {"sap": {"password": "x"}}}}, 422, "validation_failed"),
    ):
        with subtests.test(str(body)):
            problem(await _post(idle_api, body), status, code)
    taken = await idle_api.client.put("/v1/tenants/taken", params=_DRY, json={"tenant_name": "Other"})
    problem(taken, 409, "tenant_request_differs")
    new = await idle_api.client.put(
        "/v1/tenants/taken", params=_DRY, json={"tenant_name": "T"}, headers={"If-None-Match": "*"}
    )
    problem(new, 412, "precondition_failed")
    problem(await _post(idle_api, Idempotency_Key="x" * 256), 400, "invalid_idempotency_key")
    unknown = await idle_api.client.post("/v1/tenants", params={"validate_only": "perhaps"}, json=_BODY)
    problem(unknown, 422, "validation_failed")
    assert await _state(superuser) == before


async def test_permissions_are_those_of_the_call(idle_api: Api, superuser: asyncpg.Connection) -> None:
    viewer, operator = await idle_api.key(Role.VIEWER), await idle_api.key(Role.OPERATOR)
    before = await _state(superuser)
    for method, path, body in (
        ("POST", "/v1/tenants", _BODY),
        ("PUT", "/v1/tenants/acme_corp", {"tenant_name": "ACME"}),
        ("PATCH", "/v1/tenants/acme_corp", {}),
        ("POST", "/v1/schema/upgrade", {}),
    ):
        for key, status in ((viewer, 403), ("bfk_x.y", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            problem(await idle_api.client.request(method, path, params=_DRY, json=body, headers=headers), status)
        answer = await idle_api.client.request(
            method, path, params=_DRY, json=body, headers={"Authorization": f"Bearer {operator}"}
        )
        assert answer.status_code == (404 if method == "PATCH" else 200), answer.text
    assert await _state(superuser) == before


@pytest.mark.usefixtures("nothing_stays")
async def test_an_upgrade_answers_with_the_schema_and_runs_nothing(api: Api) -> None:
    read = (await api.client.get("/v1/schema")).json()
    answer = await api.client.post("/v1/schema/upgrade", params=_DRY, headers={"Prefer": "wait=20"})
    assert (answer.status_code, answer.json()) == (200, read)
    assert not {"location", "operation-location", "preference-applied"} & answer.headers.keys()
    problem(await api.client.post("/v1/schema/upgrade", params=_DRY, json={"target": "7"}), 422)


async def test_before_the_first_upgrade_too(empty_dsn: str, tmp_path: Path) -> None:
    settings: Settings = settings_for(empty_dsn, bootstrap_admin_key_file=tmp_path / "admin-key")
    async with running_api(settings, with_worker=True) as api, api.database.connection() as conn:
        before = await schemas(conn)
        answer = await api.client.post("/v1/schema/upgrade", params=_DRY)
        assert answer.status_code == 200
        assert (answer.json()["up_to_date"], bool(answer.json()["pending"])) == (False, True)
        problem(await _post(api), 409, "schema_not_installed")
        assert await schemas(conn) == before
        assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 0


async def test_an_upgrade_that_runs_is_named_and_joined_by_nobody(idle_api: Api, superuser: asyncpg.Connection) -> None:
    assert (await idle_api.client.post("/v1/schema/upgrade")).status_code == 202
    before = await _state(superuser)
    assert (await idle_api.client.post("/v1/schema/upgrade", params=_DRY)).status_code == 200
    assert await _state(superuser) == before
