"""POST /v1/tenants/batch: many creations, each with its own outcome."""

import json
import random
from typing import Any

import asyncpg
import httpx

from app.apikeys.model import Role
from tests.support.api import Api
from tests.support.data import make_tenant, schemas
from tests.support.polling import all_at_once, ended
from tests.support.problems import problem
from tests.support.tables import counts

_PATH = "/v1/tenants/batch"


def _body(*ids: str) -> dict[str, Any]:
    return {"tenants": [{"tenant_id": tenant_id, "tenant_name": f"Name of {tenant_id}"} for tenant_id in ids]}


async def _post(api: Api, body: Any, *, dry: bool = False, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.client.post(_PATH, json=body, params={"validate_only": "true"} if dry else {}, headers=named)


async def test_each_item_has_its_own_outcome(api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "taken")
    body = _body("zeta", "taken", "alpha", "alpha")
    body["tenants"] += [
        {"tenant_id": "shared", "tenant_name": "Reserved"},
        {"tenant_id": "Bad Id", "tenant_name": "", "what": 1},
        {"tenant_id": "nowhere", "tenant_name": "N", "config": {"time_zone": "Mars/Base", "default_currency": "ABC"}},
        {"tenant_id": "no_tier", "tenant_name": "N", "subscription_tier": "platinum"},
        "text",
        None,
        {"tenant_id": 7, "tenant_name": "N"},
    ]
    answer = await _post(api, body)
    assert answer.status_code == 200, answer.text
    outcome = answer.json()
    items = outcome["items"]
    assert [item["index"] for item in items] == list(range(len(body["tenants"])))
    assert [item["status"] for item in items] == [202, 409, 202, 409, 422, 422, 422, 422, 422, 422, 422]
    assert (outcome["accepted"], outcome["refused"]) == (2, 9)
    assert [item["tenant_id"] for item in items[4:]] == [
        "shared", "Bad Id", "nowhere", "no_tier", None, None, None,
    ]  # fmt: skip
    assert (items[1]["problem"]["code"], items[1]["problem"]["state"]) == ("tenant_exists", "active")
    assert items[3]["problem"]["code"] == "tenant_being_provisioned", "the first of two alike wins"
    pointers = {item["index"]: {e["pointer"] for e in item["problem"].get("errors", ())} for item in items[4:]}
    assert pointers == {
        4: {"/tenants/4/tenant_id"},
        5: {"/tenants/5/tenant_id", "/tenants/5/tenant_name", "/tenants/5/what"},
        6: {"/tenants/6/config/time_zone", "/tenants/6/config/default_currency"},
        7: {"/tenants/7/subscription_tier"},
        8: {"/tenants/8"},
        9: {"/tenants/9"},
        10: {"/tenants/10/tenant_id"},
    }
    for item in (items[0], items[2]):
        assert (await ended(api.client, item["operation"]))["status"] == "succeeded"
    assert {"bf_zeta", "bf_alpha"} <= await schemas(conn)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 3


async def test_what_was_refused_leaves_nothing(idle_api: Api, superuser: asyncpg.Connection) -> None:
    before = await counts(superuser)
    answer = await _post(idle_api, {"tenants": [{"tenant_id": "x1", "tenant_name": "X", "subscription_tier": "no"}]})
    assert answer.json()["accepted"] == 0
    assert await counts(superuser) == before


async def test_a_dry_run_says_the_same_and_leaves_nothing(idle_api: Api, superuser: asyncpg.Connection) -> None:
    before = await counts(superuser)
    body = _body("one", "two", "one", "shared")
    dry = (await _post(idle_api, body, dry=True, Idempotency_Key="k")).json()
    assert [item["status"] for item in dry["items"]] == [200, 200, 409, 422]
    assert {item["operation"] for item in dry["items"]} == {None}
    assert await counts(superuser) == before
    real = (await _post(idle_api, body, Idempotency_Key="k")).json()
    assert [item["status"] for item in real["items"]] == [202, 202, 409, 422]


async def test_the_key_is_that_of_the_whole(idle_api: Api) -> None:
    first = await _post(idle_api, _body("one", "two"), Idempotency_Key="k")
    again = await _post(idle_api, _body("one", "two"), Idempotency_Key="k")
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    problem(await _post(idle_api, _body("one", "three"), Idempotency_Key="k"), 422, "idempotency_key_reused")
    without = (await _post(idle_api, _body("one", "two"))).json()
    assert [item["problem"]["code"] for item in without["items"]] == ["tenant_being_provisioned"] * 2


async def test_bodies_that_are_no_batch(idle_api: Api) -> None:
    for body in ({}, {"tenants": []}, {"tenants": {}}, {"tenants": None}, {"tenants": [{}] * 501}, [], {
        "tenants": [{}], "more": 1}):  # fmt: skip
        problem(await _post(idle_api, body), 422, "validation_failed")
    problem(await idle_api.client.post(_PATH, content=b"{" + b" " * 1024 * 1024 + b"}", headers={
        "Content-Type": "application/json"}), 413, "body_too_large")  # fmt: skip


async def test_hostile_items_are_refused_one_by_one(idle_api: Api) -> None:
    hostile = ("\ud800", "a\0b", "x" * 10_000, "'; DROP", "éé", 1e400, [["deep"]], {"a": "\udfff"}, True)
    items = [json.dumps({"tenant_id": value, "tenant_name": value}) for value in hostile]
    content = f'{{"tenants": [{", ".join(items)}]}}'
    answer = await idle_api.client.post(
        _PATH, content=content.encode(), headers={"Content-Type": "application/json", "Idempotency-Key": "hostile"}
    )
    assert answer.status_code == 200, answer.text
    assert [item["status"] for item in answer.json()["items"]] == [422] * len(hostile)


async def test_five_hundred_at_once_are_accepted_in_time(idle_api: Api, conn: asyncpg.Connection) -> None:
    answer = await _post(idle_api, _body(*(f"many_{n:03}" for n in range(500))))
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] == 500
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant WHERE state = 'provisioning'") == 500
    queued = await conn.fetchval(
        """SELECT count(*) FROM bf_queue.pgqueuer j JOIN bf_control.operation o ON o.id::text = j.dedupe_key
            WHERE j.payload = convert_to(o.id::text, 'UTF8') AND j.entrypoint = 'operation'"""
    )
    assert queued == 500
    audited = await conn.fetchval("SELECT count(DISTINCT target) FROM bf_control.audit WHERE action = 'tenant.create'")
    assert audited == 500


async def test_batches_that_overlap_in_any_order_do_not_block_each_other(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    seed = random.randrange(2**32)  # noqa: S311 -- a test's
    generator = random.Random(seed)  # noqa: S311 -- a test's
    ids = [f"same_{n:02}" for n in range(40)]
    answers = await all_at_once(lambda: _post(idle_api, _body(*generator.sample(ids, len(ids)))), 6)
    assert [answer.status_code for answer in answers] == [200] * 6, seed
    accepted = [item["tenant_id"] for answer in answers for item in answer.json()["items"] if item["status"] == 202]
    assert sorted(accepted) == ids, seed
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 40


async def test_a_viewer_and_a_key_of_one_tenant_may_not(idle_api: Api) -> None:
    for key in (await idle_api.key(Role.VIEWER), await idle_api.key(Role.ADMIN, tenant_id="acme_corp")):
        answer = await _post(idle_api, _body("acme_corp"), Authorization=f"Bearer {key}")
        problem(answer, 403, "forbidden")


async def test_integrations_are_judged_item_by_item_and_no_secret_comes_back(idle_api: Api) -> None:
    """This service has no key to encrypt secrets with."""
    planted = "planted-5f2d"
    answer = await idle_api.client.post("/v1/tenants/batch", json={"tenants": [
        {"tenant_id": "fine", "tenant_name": "F", "integrations": {"audit_compliance": {"level": "detailed"}}},
        {"tenant_id": "inside", "tenant_name": "I", "integrations": {"auth_rbac": {"endpoint": "https://10.0.0.1"}}},
        {"tenant_id": "secret", "tenant_name": "S", "integrations": {"auth_rbac": {"credentials": {"token": planted}}}},
    ]})  # fmt: skip
    assert answer.status_code == 200
    fine, inside, secret = answer.json()["items"]
    assert (fine["status"], inside["status"], secret["status"]) == (202, 422, 409)
    assert inside["problem"]["errors"][0]["pointer"] == "/tenants/1/integrations/auth_rbac/endpoint"
    assert secret["problem"]["code"] == "secret_keys_missing"
    assert planted not in answer.text
