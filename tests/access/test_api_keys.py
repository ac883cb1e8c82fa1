"""/v1/api-keys: made, shown once, rotated, revoked, and who may."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import until
from tests.support.problems import problem

_PATH = "/v1/api-keys"
_AUDIT = """
SELECT action, actor, outcome, before, after, row_to_json(a)::text AS whole
  FROM bf_control.audit a WHERE target = $1 ORDER BY id
"""


async def _make(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.client.post(_PATH, json={"name": "n", "role": "viewer", **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _as(api: Api, key: str, method: str = "GET", path: str = "/v1/tenants", **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}", **options.pop("headers", {})}
    return await api.client.request(method, path, headers=headers, **options)


def _in(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


async def test_a_key_is_shown_once_and_works(idle_api: Api, conn: asyncpg.Connection) -> None:
    answer = await idle_api.client.post(_PATH, json={"name": "export", "role": "operator", "expires_at": _in(days=1)})
    made = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"{_PATH}/{made['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert (made["role"], made["usable"], made["revoked_at"]) == ("operator", True, None)
    assert (await _as(idle_api, made["key"])).status_code == 200
    read = (await idle_api.client.get(answer.headers["location"])).json()
    assert read == {name: value for name, value in made.items() if name != "key"}
    listed = (await idle_api.client.get(_PATH)).json()["items"]
    assert read in listed
    secret = made["key"].partition(".")[2]
    for text in (
        str(listed),
        await conn.fetchval("SELECT string_agg(k::text, ' ') FROM bf_control.api_key k"),
        await conn.fetchval("SELECT string_agg(a::text, ' ') FROM bf_control.audit a"),
    ):
        assert secret not in text
    (row,) = await conn.fetch(_AUDIT, f"api_key/{made['id']}")
    assert (row["action"], row["outcome"], row["actor"]) == ("api_key.create", "succeeded", made["created_by"])


async def test_a_replay_has_no_secret_and_nothing_is_made_twice(idle_api: Api, conn: asyncpg.Connection) -> None:
    body, headers = {"name": "n", "role": "viewer"}, {"Idempotency-Key": "k1"}
    first = await idle_api.client.post(_PATH, json=body, headers=headers)
    again = await idle_api.client.post(_PATH, json=body, headers=headers)
    assert again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {name: value for name, value in first.json().items() if name != "key"}
    stored = await conn.fetchval("SELECT string_agg(k::text, ' ') FROM bf_control.idempotency_key k")
    assert first.json()["key"].partition(".")[2] not in stored
    assert await conn.fetchval("SELECT count(*) FROM bf_control.api_key WHERE name = 'n'") == 1


async def test_a_dry_run_makes_nothing_and_shows_no_key(idle_api: Api, conn: asyncpg.Connection) -> None:
    made = await _make(idle_api)
    before = await conn.fetchval("SELECT md5(string_agg(k::text, '|' ORDER BY id)) FROM bf_control.api_key k")
    audited = await conn.fetchval("SELECT count(*) FROM bf_control.audit")
    dry = {"validate_only": "true"}
    answer = await idle_api.client.post(_PATH, params=dry, json={"name": "n", "role": "viewer"})
    assert (answer.status_code, "key" in answer.json()) == (200, False)
    answer = await idle_api.client.post(f"{_PATH}/{made['id']}/rotate", params=dry)
    assert (answer.status_code, "key" in answer.json()) == (200, False)
    assert (await idle_api.client.delete(f"{_PATH}/{made['id']}", params=dry)).status_code == 204
    assert await conn.fetchval("SELECT md5(string_agg(k::text, '|' ORDER BY id)) FROM bf_control.api_key k") == before
    assert await conn.fetchval("SELECT count(*) FROM bf_control.audit") == audited


async def test_what_is_no_key_is_refused(idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    await make_tenant(conn, "acme_corp")
    good = {"name": "n", "role": "viewer"}
    for change, status, code in (
        ({"name": ""}, 422, "validation_failed"),
        ({"name": " "}, 422, "validation_failed"),
        ({"name": "x" * 256}, 422, "validation_failed"),
        ({"name": "a\0b"}, 422, "validation_failed"),
        ({"name": "\ud800"}, 422, "validation_failed"),
        ({"role": "owner"}, 422, "validation_failed"),
        ({"role": None}, 422, "validation_failed"),
        ({"expires_at": _in(seconds=-1)}, 422, "validation_failed"),
        ({"expires_at": "0001-01-01T00:00:00+14:00"}, 422, "validation_failed"),
        ({"expires_at": "9999-12-31T23:59:59-14:00"}, 422, "validation_failed"),
        ({"expires_at": "2999-01-01T00:00:00"}, 422, "validation_failed"),
        ({"secret": "mine"}, 422, "validation_failed"),
        ({"tenant_id": "nobody"}, 404, "tenant_not_found"),
        ({"tenant_id": "x'; DROP"}, 404, "tenant_not_found"),
    ):
        with subtests.test(str(change)[:60]):
            text = json.dumps({**good, **change})
            answer = await idle_api.client.post(_PATH, content=text, headers={"Content-Type": "application/json"})
            problem(answer, status, code)
    for path in (f"{_PATH}/{'0' * 16}", f"{_PATH}/nobody"):
        problem(await idle_api.client.get(path), 404, "api_key_not_found")
        problem(await idle_api.client.delete(path), 404, "api_key_not_found")
        problem(await idle_api.client.post(f"{path}/rotate"), 404, "api_key_not_found")
    for overlap in (-1, 31 * 86_400, 1.5, "1d"):
        answer = await idle_api.client.post(f"{_PATH}/{'0' * 16}/rotate", json={"overlap_seconds": overlap})
        problem(answer, 422, "validation_failed")


async def test_a_tenant_s_key_is_of_one_that_is_there(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "acme_corp")
    made = await _make(idle_api, tenant_id="acme_corp")
    assert (await _as(idle_api, made["key"], path="/v1/tenants/acme_corp")).status_code == 200
    problem(await _as(idle_api, made["key"], path=_PATH), 403, "forbidden")
    admin = await _make(idle_api, tenant_id="acme_corp", role="admin")
    body = {"name": "n", "role": "viewer"}
    problem(await _as(idle_api, admin["key"], "POST", _PATH, json=body), 403, "forbidden")
    await conn.execute("UPDATE bf_control.tenant SET state = 'purging' WHERE tenant_id = 'acme_corp'")
    late = await idle_api.client.post(_PATH, json={**body, "tenant_id": "acme_corp"})
    problem(late, 409, "tenant_state_forbids")


async def test_rotation_overlaps_and_the_old_key_ends(idle_api: Api, conn: asyncpg.Connection) -> None:
    old = await _make(idle_api, role="operator", expires_at=_in(days=10))
    path = f"{_PATH}/{old['id']}/rotate"
    answer = await idle_api.client.post(path, json={"overlap_seconds": 2})
    new = answer.json()
    assert answer.status_code == 201, answer.text
    assert (new["replaces"], new["role"], new["name"]) == (old["id"], "operator", "n")
    left = datetime.fromisoformat(new["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=9.9) < left < timedelta(days=10.1), "as long as the old one"
    for key in (old["key"], new["key"]):
        assert (await _as(idle_api, key)).status_code == 200
    problem(await idle_api.client.post(path), 409, "api_key_rotated")

    async def ended() -> bool:
        return (await _as(idle_api, old["key"])).status_code == 401

    await until(ended, within=8, what="the end of the old key")
    assert (await _as(idle_api, new["key"])).status_code == 200
    problem(await idle_api.client.post(path), 409, "api_key_not_usable")
    audited = [row["action"] for row in await conn.fetch(_AUDIT, f"api_key/{old['id']}")]
    assert audited == ["api_key.create", "api_key.rotate"]


async def test_a_lost_successor_is_revoked_and_rotated_again(idle_api: Api) -> None:
    old = await _make(idle_api)
    path = f"{_PATH}/{old['id']}/rotate"
    lost = (await idle_api.client.post(path)).json()
    assert (await idle_api.client.delete(f"{_PATH}/{lost['id']}")).status_code == 204
    assert (await idle_api.client.post(path)).status_code == 201


async def test_two_rotations_at_once_make_one_key(idle_api: Api) -> None:
    old = await _make(idle_api)
    path = f"{_PATH}/{old['id']}/rotate"
    answers = await asyncio.gather(*(idle_api.client.post(path) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_revoking_twice_leaves_one_trace(idle_api: Api, conn: asyncpg.Connection) -> None:
    made = await _make(idle_api)
    path = f"{_PATH}/{made['id']}"
    assert (await idle_api.client.delete(path)).status_code == 204
    first = (await idle_api.client.get(path)).json()
    assert (await idle_api.client.delete(path)).status_code == 204
    assert (await idle_api.client.get(path)).json() == first
    assert first["usable"] is False
    rows = [row for row in await conn.fetch(_AUDIT, f"api_key/{made['id']}") if row["action"] == "api_key.revoke"]
    assert len(rows) == 1
    problem(await idle_api.client.post(f"{path}/rotate"), 409, "api_key_not_usable")


async def test_the_last_admin_key_goes_with_a_word_alone(idle_api: Api) -> None:
    (last,) = (await idle_api.client.get(_PATH)).json()["items"]
    await _make(idle_api, role="operator")
    path = f"{_PATH}/{last['id']}"
    problem(await idle_api.client.delete(path), 409, "last_admin_key")
    problem(await idle_api.client.delete(path, params={"validate_only": "true"}), 409, "last_admin_key")
    assert (await idle_api.client.get(_PATH)).status_code == 200
    assert (await idle_api.client.delete(path, params={"even_the_last": "true"})).status_code == 204


async def test_two_admins_who_revoke_each_other_leave_one(idle_api: Api, conn: asyncpg.Connection) -> None:
    (first,) = (await idle_api.client.get(_PATH)).json()["items"]
    second = await _make(idle_api, role="admin")
    answers = await asyncio.gather(
        idle_api.client.delete(f"{_PATH}/{second['id']}"),
        _as(idle_api, second["key"], "DELETE", f"{_PATH}/{first['id']}"),
    )
    # Whoever was first may have shut the other out before it was asked who it is.
    assert sorted(answer.status_code for answer in answers) in ([204, 401], [204, 409])
    assert await conn.fetchval("SELECT count(*) FROM bf_control.api_key WHERE revoked_at IS NULL") == 1


async def test_lists_go_page_by_page_the_newest_first(idle_api: Api, conn: asyncpg.Connection) -> None:
    made = [(await _make(idle_api, name=f"k{number}"))["id"] for number in range(5)]
    seen: list[str] = []
    query: dict[str, str] = {"page_size": "2"}
    while True:
        page = (await idle_api.client.get(_PATH, params=query)).json()
        seen += [item["id"] for item in page["items"]]
        if "next_page_token" not in page:
            break
        query["page_token"] = page["next_page_token"]
    assert seen[:5] == made[::-1]
    assert len(seen) == len(set(seen)) == 6
    reads = await conn.fetch(_AUDIT, "api_keys")
    assert {row["action"] for row in reads} == {"api_key.list"}
    assert len(reads) == 3
    problem(await idle_api.client.get(_PATH, params={"page_token": "x"}), 400, "invalid_page_token")


async def test_nobody_but_an_admin_of_all_makes_keys(idle_api: Api, subtests: pytest.Subtests) -> None:
    for role in Role:
        with subtests.test(role.value):
            answer = await _as(idle_api, await idle_api.key(role), "POST", _PATH, json={"name": "n", "role": "viewer"})
            assert answer.status_code == (201 if role is Role.ADMIN else 403)


@pytest.mark.parametrize(("by", "wanted", "may"), [
    (Role.ADMIN, Role.AUDITOR, True), (Role.OPERATOR, Role.VIEWER, True), (Role.OPERATOR, Role.ADMIN, False),
    (Role.VIEWER, Role.OPERATOR, False), (Role.OPERATOR, Role.AUDITOR, False), (Role.READER, Role.READER, True),
])  # fmt: skip
def test_nobody_gives_more_than_they_have(by: Role, wanted: Role, may: bool) -> None:
    assert by.may_give(wanted) is may
