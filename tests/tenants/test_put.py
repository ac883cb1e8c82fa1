"""PUT /v1/tenants/{id}: a creation that may be repeated."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any

import asyncpg
import httpx
import pytest

from app.settings import Settings
from tests.support import gates, oracle
from tests.support.api import Api
from tests.support.data import make_tenant, schemas, suspend
from tests.support.polling import all_at_once, ended, insisting, until, waiting_for_locks
from tests.support.problems import problem
from tests.support.tables import counts

_BODY = {"tenant_name": "ACME Corporation"}
_PATH = "/v1/tenants/acme_corp"
_WAIT = {"Prefer": "wait=20"}
_NEW = {"If-None-Match": "*"}
_REFUSE = """
CREATE FUNCTION bf_control.refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE EXCEPTION 'a test refuses this' USING ERRCODE = 'check_violation'; END$$;
CREATE TRIGGER refuse BEFORE INSERT ON bf_shared.tenant_config FOR EACH ROW EXECUTE FUNCTION bf_control.refuse()
"""


async def _put(api: Api, body: Any = _BODY, *, path: str = _PATH, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.client.put(path, json=body, headers=named)


async def test_the_first_is_201_and_the_same_again_200_whatever_the_tenant_is_called_now(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    first = await api.client.put(_PATH, json=_BODY, headers=_WAIT)
    assert first.status_code == 201, first.text
    assert first.headers["location"] == _PATH
    assert first.headers["preference-applied"] == "wait=20"
    assert first.json()["state"] == "active"
    operation = (await api.client.get(first.headers["operation-location"])).json()
    assert (operation["kind"], operation["status"]) == ("tenant.provision", "succeeded")

    for headers in ({}, _WAIT):
        again = await api.client.put(_PATH, json=_BODY, headers=headers)
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["etag"] == first.headers["etag"]
        assert again.headers["location"] == _PATH
        assert "operation-location" not in again.headers

    await api.client.patch(_PATH, json={"tenant_name": "ACME Worldwide", "subscription_tier": "premium"})
    await suspend(conn)
    again = await _put(api)
    assert again.status_code == 200, again.text
    assert (again.json()["tenant_name"], again.json()["state"]) == ("ACME Worldwide", "suspended")
    renamed = await _put(api, {"tenant_name": "ACME Worldwide", "subscription_tier": "premium"})
    assert problem(renamed, 409, "tenant_request_differs")["state"] == "suspended"
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 1
    await oracle.assert_clean(settings.direct_dsn())


async def test_post_and_put_are_the_same_request(api: Api) -> None:
    created = await api.provision("acme_corp", limits={"max_budgets": 5}, features_enabled=["ai_insights"])
    assert created.status_code == 201
    body = {"features_enabled": ["ai_insights"], "limits": {"max_budgets": 5}, **_BODY}
    again = await _put(api, {**body, "tenant_id": "acme_corp"})
    assert (again.status_code, again.json()) == (200, created.json())
    problem(await api.client.post("/v1/tenants", json={**body, "tenant_id": "acme_corp"}), 409, "tenant_exists")


async def test_without_a_preference_it_is_202_and_again_the_same_operation(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    first = await _put(idle_api)
    assert first.status_code == 202
    assert first.json()["status"] == "queued"
    assert first.headers["location"] == _PATH
    assert first.headers["operation-location"] == f"/v1/operations/{first.json()['id']}"
    assert int(first.headers["retry-after"]) >= 1
    again = await _put(idle_api)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["operation-location"] == first.headers["operation-location"]
    waited = await _put(idle_api, Prefer="wait=1")
    assert (waited.status_code, waited.headers["preference-applied"]) == (202, "wait=1")
    assert problem(await _put(idle_api, {"tenant_name": "Other"}), 409)["code"] == "tenant_request_differs"
    assert await conn.fetchval("SELECT count(*) FROM bf_queue.pgqueuer") == 1


async def test_a_build_in_the_middle_keeps_nobody_waiting_who_asks_again(
    api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """The worker holds the tenant's row until it commits; whoever joins, or is refused, hears so without its lock."""
    points = {"acme_corp": 1}
    await gates.install(conn, points)
    await gates.shut(superuser, points)
    first = await _put(api)
    await gates.reached(conn, 1)
    joined = await _put(api)
    other = await _put(api, {"tenant_name": "Other"})
    posted = await api.client.post("/v1/tenants", json={**_BODY, "tenant_id": "acme_corp"})
    assert (joined.status_code, joined.json()["id"], joined.json()["status"]) == (202, first.json()["id"], "running")
    problem(other, 409, "tenant_request_differs")
    problem(posted, 409, "tenant_being_provisioned")
    waiting = asyncio.create_task(_put(api, Prefer="wait=20"))
    await gates.open_all(superuser)
    assert (await waiting).status_code in {200, 201}  # 200 where the gate was faster
    assert (await api.client.get(_PATH)).json()["state"] == "active"


async def test_another_request_is_409_and_changes_nothing(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    assert (await _put(idle_api)).status_code == 202
    before = await counts(superuser)
    for body in (
        {"tenant_name": "Other"},
        {**_BODY, "subscription_tier": "premium"},
        {**_BODY, "created_by": "somebody"},
        {**_BODY, "billing_contact": "billing@acme.example"},
        {**_BODY, "features_enabled": ["ai_insights"]},
        {**_BODY, "limits": {"max_budgets": 1}},
        {**_BODY, "config": {"default_currency": "EUR"}},
        {**_BODY, "integrations": {"auth_rbac": {}}},
    ):
        with subtests.test(str(body)):
            assert problem(await _put(idle_api, body), 409, "tenant_request_differs")["state"] == "provisioning"
    await make_tenant(conn, "by_hand", "ACME Corporation")
    problem(await _put(idle_api, path="/v1/tenants/by_hand"), 409, "tenant_request_differs")
    assert (await counts(superuser))["bf_control.operation"] == before["bf_control.operation"]


async def test_a_failed_tenant_is_repaired_by_the_same_request_alone(
    api: Api, conn: asyncpg.Connection, settings: Settings
) -> None:
    await conn.execute(_REFUSE)
    failed = await _put(api, Prefer="wait=20")
    assert (failed.status_code, failed.json()["status"]) == (202, "failed"), failed.text
    tenant = (await api.client.get(_PATH)).json()
    assert (tenant["state"], tenant["schema_version"]) == ("failed", None)
    assert tenant["error"]["code"] == "database_error"
    await conn.execute("DROP TRIGGER refuse ON bf_shared.tenant_config")

    problem(await _put(api, {"tenant_name": "Other"}), 409, "tenant_request_differs")
    problem(await _put(api, If_None_Match="*"), 412, "precondition_failed")
    repaired = await _put(api, Prefer="wait=20")
    assert repaired.status_code == 201, repaired.text
    assert repaired.headers["operation-location"] != failed.headers["operation-location"]
    assert (repaired.json()["state"], repaired.json()["error"]) == ("active", None)
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_many_that_repair_at_once_are_one_operation(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    """All of them have read that the tenant is failed when the first may say that it no longer is."""
    first = await _put(idle_api)
    cancelled = await idle_api.client.post(f"{first.headers['operation-location']}/cancel")
    assert cancelled.json()["status"] == "cancelled"
    assert (await idle_api.client.get(_PATH)).json()["state"] == "failed"
    async with superuser.transaction():
        await superuser.execute("SELECT FROM bf_control.tenant FOR UPDATE")
        puts = [asyncio.create_task(_put(idle_api)) for _ in range(2)]
        body = {**_BODY, "tenant_id": "acme_corp"}
        posts = [asyncio.create_task(idle_api.client.post("/v1/tenants", json=body)) for _ in range(2)]
        await waiting_for_locks(conn, 4)
    answers = await asyncio.gather(*puts, *posts)
    accepted = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert len(accepted) == 1, [answer.text for answer in answers]
    assert {answer.status_code for answer in answers[:2]} == {202}
    for answer in answers[2:]:
        if answer.status_code != 202:
            told = problem(answer, 409, "tenant_being_provisioned")
            assert told["operation"] == f"/v1/operations/{next(iter(accepted))}"
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 2
    assert await conn.fetchval("SELECT count(*) FROM bf_queue.pgqueuer WHERE dedupe_key = $1", accepted.pop()) == 1


async def test_if_none_match_lets_one_of_many_create(idle_api: Api, conn: asyncpg.Connection) -> None:
    """All at once: whoever joined the work of another would believe that the tenant is its own."""
    answers = await all_at_once(partial(_put, idle_api, If_None_Match="*"), 12)
    assert Counter(answer.status_code for answer in answers) == {202: 1, 412: 11}
    for answer in answers:
        if answer.status_code == 412:
            problem(answer, 412, "precondition_failed")
    problem(await _put(idle_api, {"tenant_name": "Other"}, If_None_Match="*"), 412, "precondition_failed")
    problem(await _put(idle_api, path="/v1/tenants/other", If_None_Match='"abc"'), 400, "invalid_entity_tag")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 1


async def test_thirty_at_once_are_one_tenant(api: Api, conn: asyncpg.Connection, settings: Settings) -> None:
    answers = await asyncio.gather(*(_put(api, **(_WAIT if n % 2 else {})) for n in range(30)))
    # On a slow machine some find no connection in time: that is the contract's answer to overload.
    assert {answer.status_code for answer in answers} <= {200, 201, 202, 503}, [answer.text for answer in answers]
    operations = {a.headers["operation-location"] for a in answers if "operation-location" in a.headers}
    assert len(operations) == 1
    assert (await ended(api.client, operations.pop()))["status"] == "succeeded"
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation") == 1
    await oracle.settled(conn)
    await oracle.assert_clean(settings.direct_dsn())


async def test_different_requests_at_once_let_one_through(idle_api: Api, conn: asyncpg.Connection) -> None:
    rivals = [partial(_put, idle_api, {"tenant_name": f"Rival {n}"}) for n in range(12)]
    answers = await asyncio.gather(*(insisting(rival) for rival in rivals))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 11}
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, "tenant_request_differs")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 1


async def test_the_id_in_the_body_is_that_of_the_path(idle_api: Api, superuser: asyncpg.Connection) -> None:
    before = await counts(superuser)
    body = problem(await _put(idle_api, {**_BODY, "tenant_id": "global_inc"}), 422, "validation_failed")
    assert body["errors"] == [{"pointer": "/tenant_id", "detail": "is not the one in the path"}]
    problem(await _put(idle_api, {**_BODY, "tenant_id": "ACME"}), 422, "validation_failed")
    assert await counts(superuser) == before
    assert (await _put(idle_api, {**_BODY, "tenant_id": "acme_corp"})).status_code == 202


async def test_a_path_that_names_no_tenant_is_422(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before = await counts(superuser), await schemas(superuser)
    for raw in (
        "a", "A" * 37, "a" * 37, "Acme", "1acme", "_acme", "acme-corp", "acme%20corp", "acme%00", "acme%0A", "%27",
        "acme%22", "pg_x", "pool_1", "shared", "control", "queue", "public", "information_schema", "acm%C3%A9",
    ):  # fmt: skip
        with subtests.test(raw):
            answer = await _put(idle_api, path=f"/v1/tenants/{raw}")
            body = problem(answer, 422, "validation_failed")
            assert {error["pointer"] for error in body["errors"]} == {"path/tenant_id"}
    assert (await counts(superuser), await schemas(superuser)) == before


async def test_if_match_is_of_a_tenant_that_is_there_and_as_it_was_read(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before = await counts(superuser)
    for tag in ("*", '"any"'):
        with subtests.test(f"{tag} of nothing"):
            problem(await _put(idle_api, If_Match=tag), 412, "precondition_failed")
    for nonsense in ("any", "", '"a" "b"'):
        with subtests.test(f"nonsense {nonsense}"):
            problem(await _put(idle_api, If_Match=nonsense), 400, "invalid_entity_tag")
    assert await counts(superuser) == before
    assert (await _put(idle_api)).status_code == 202
    views = [await idle_api.client.get(_PATH, params={"view": view}) for view in ("basic", "full")]
    for tag in ("*", *(view.headers["etag"] for view in views)):
        with subtests.test(f"{tag} matches"):
            assert (await _put(idle_api, If_Match=tag)).status_code == 202
        with subtests.test(f"{tag} matches, but it is not new"):
            problem(await _put(idle_api, If_Match=tag, If_None_Match="*"), 412, "precondition_failed")
    await conn.execute("UPDATE bf_control.tenant SET billing_contact = 'other', updated_at = now()")
    for view in views:
        with subtests.test("changed since"):
            problem(await _put(idle_api, If_Match=view.headers["etag"]), 412, "precondition_failed")
            problem(await _put(idle_api, If_Match=f"W/{view.headers['etag']}"), 412, "precondition_failed")


async def test_a_body_that_is_no_creation_request_is_refused(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before = await counts(superuser)
    for body, pointer in (
        ({}, "/tenant_name"),
        ({"tenant_name": None}, "/tenant_name"),
        ({**_BODY, "state": "active"}, "/state"),
        ({**_BODY, "config": {"default_currency": "XXX"}}, "/config/default_currency"),
        ({**_BODY, "billing_contact": "https://me:hush@pay.example"}, "/billing_contact"),
        ({**_BODY, "billing_contact": ""}, "/billing_contact"),
    ):
        with subtests.test(str(body)):
            found = problem(await _put(idle_api, body), 422, "validation_failed")
            assert pointer in {error["pointer"] for error in found["errors"]}
    for raw in (b"", b"[]", b"null"):
        with subtests.test(repr(raw)):
            headers = {"Content-Type": "application/json"}
            problem(await idle_api.client.put(_PATH, content=raw, headers=headers), 422, "validation_failed")
    assert await counts(superuser) == before


async def test_a_worker_that_comes_later_ends_what_a_put_began(
    idle_api: Api, api: Api, conn: asyncpg.Connection
) -> None:
    """Two processes on one database: the one that was asked has no worker."""
    accepted = await _put(idle_api, {**_BODY, "tenant_id": "acme_corp"}, Prefer="wait=20")
    assert accepted.status_code == 201, accepted.text

    async def same() -> bool:
        return (await _put(api)).json() == (await _put(idle_api)).json()

    await until(same, what="the same tenant from both processes")
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 1


async def test_nobody_is_handed_the_tenant_of_another_request(idle_api: Api) -> None:
    """Again and again: what is read between two statements may be somebody else's."""
    for number in range(20):
        path = f"/v1/tenants/rival_{number}"
        bodies = [{"tenant_name": f"Rival {n}"} for n in range(5)]
        answers = await asyncio.gather(*(idle_api.client.put(path, json=body) for body in bodies))
        assert Counter(answer.status_code for answer in answers) == {202: 1, 409: 4}
