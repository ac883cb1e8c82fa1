"""The OpenFeature remote evaluation protocol: what is asked and answered, by whom, and how old it may be."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.features import queries
from app.settings import Settings
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, suspend
from tests.support.polling import until
from tests.support.problems import problem

_ALL = "/ofrep/v1/evaluate/flags"
_OURS = {"context": {"targetingKey": "acme_corp"}}


@pytest.fixture
async def reader(idle_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    key = await idle_api.key(Role.READER)
    transport = httpx.ASGITransport(idle_api.app)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


async def _values(client: httpx.AsyncClient, tenant_id: str = "acme_corp") -> dict[str, bool]:
    answer = await client.post(_ALL, json={"context": {"targetingKey": tenant_id}})
    assert answer.status_code == 200, answer.text
    return {flag["key"]: flag["value"] for flag in answer.json()["flags"]}


async def _enable(conn: asyncpg.Connection, *names: str, tenant_id: str = "acme_corp") -> None:
    listed = ", ".join(f'"{name}"' for name in names)
    await conn.execute(
        "UPDATE bf_shared.tenant_config SET features_enabled = $1::text::jsonb WHERE tenant_id = $2",
        f"[{listed}]",
        tenant_id,
    )


async def test_all_flags_of_a_tenant_and_one(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await _enable(conn, "ai_insights", "Zeta")
    answer = await reader.post(_ALL, json=_OURS)
    flags = {flag["key"]: flag for flag in answer.json()["flags"]}
    assert len(flags) == 9
    assert flags["ai_insights"] == {
        "key": "ai_insights", "value": True, "reason": "TARGETING_MATCH", "variant": "on",
        "metadata": {"source": "tenant", "known": True},
    }  # fmt: skip
    assert (flags["Zeta"]["value"], flags["Zeta"]["metadata"]["known"]) == (True, False)
    off = flags["scenario_planning"]
    assert (off["value"], off["variant"], off["reason"]) == (False, "off", "DEFAULT")
    for name, flag in flags.items():
        assert (await reader.post(f"{_ALL}/{name}", json=_OURS)).json() == flag


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "PARSE_ERROR"), (b"{", "PARSE_ERROR"), (b"\xff", "PARSE_ERROR"), (b"[]", "PARSE_ERROR"),
        (b"null", "PARSE_ERROR"), (b'"x"', "PARSE_ERROR"), (b"[" * 100000, "PARSE_ERROR"),
        (b"{}", "TARGETING_KEY_MISSING"), (b'{"context": {}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": ""}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": null}}', "TARGETING_KEY_MISSING"),
        (b'{"context": {"tenant": "acme_corp"}}', "TARGETING_KEY_MISSING"),
        (b'{"context": []}', "INVALID_CONTEXT"), (b'{"context": null}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 7}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "nobody"}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "ACME_CORP"}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "a\\u0000b"}}', "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "\\ud800"}}', "INVALID_CONTEXT"),
    ],
)  # fmt: skip
async def test_what_cannot_be_evaluated_fails_in_the_protocols_own_words(
    reader: httpx.AsyncClient, conn: asyncpg.Connection, body: bytes, code: str
) -> None:
    await make_tenant(conn)
    headers = {"Content-Type": "application/json"}
    answer = await reader.post(_ALL, content=body, headers=headers)
    assert (answer.status_code, answer.json()["errorCode"]) == (400, code)
    assert answer.json()["errorDetails"]
    one = await reader.post(f"{_ALL}/ai_insights", content=body, headers=headers)
    assert (one.status_code, one.json()) == (400, {**answer.json(), "key": "ai_insights"})


async def test_an_unknown_flag_is_404_and_members_of_the_context_are_not_looked_at(
    reader: httpx.AsyncClient, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    for name in ("ai_insight", "%00", "x" * 300):
        answer = await reader.post(f"{_ALL}/{name}", json=_OURS)
        assert (answer.status_code, answer.json()["errorCode"]) == (404, "FLAG_NOT_FOUND")
    body = {"context": {"targetingKey": "acme_corp", "user": {"id": [1]}}, "later": True}
    assert (await reader.post(f"{_ALL}/ai_insights", json=body)).status_code == 200


async def test_only_tenants_that_have_features_are_evaluated(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection
) -> None:
    await idle_api.client.post("/v1/tenants", json={"tenant_id": "acme_corp", "tenant_name": "ACME"})
    assert (await reader.post(_ALL, json=_OURS)).json()["errorCode"] == "INVALID_CONTEXT"
    await make_tenant(conn)
    assert not any((await _values(reader)).values())
    await suspend(conn)
    assert not any((await _values(reader)).values())
    await conn.execute("UPDATE bf_control.tenant SET state = 'deleted'")
    await until(lambda: _code(reader, "INVALID_CONTEXT"), what="the deleted tenant is unknown")


async def _code(client: httpx.AsyncClient, wanted: str) -> bool:
    return bool((await client.post(_ALL, json=_OURS)).json().get("errorCode") == wanted)


async def test_a_key_for_one_tenant_evaluates_that_one(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await make_tenant(conn, "global_inc")
    headers = {"Authorization": f"Bearer {await idle_api.key(Role.READER, tenant_id='global_inc')}"}
    for path in (_ALL, f"{_ALL}/ai_insights"):
        own = {"context": {"targetingKey": "global_inc"}}
        assert (await idle_api.client.post(path, json=own, headers=headers)).status_code == 200
        for other in ("acme_corp", "nobody", "GLOBAL_INC", "global_inc "):
            foreign = {"context": {"targetingKey": other}}
            refused = await idle_api.client.post(path, json=foreign, headers=headers)
            assert (refused.status_code, refused.json()["errorCode"]) == (400, "INVALID_CONTEXT"), (
                "as of an unknown one"
            )
        missing = await idle_api.client.post(path, json={}, headers=headers)
        assert missing.json()["errorCode"] == "TARGETING_KEY_MISSING"
    problem(await idle_api.client.post(_ALL, json=_OURS), 403, "forbidden")  # not an admin's either


async def test_the_tag_saves_the_body_until_something_changes(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    tag = (await reader.post(_ALL, json=_OURS)).headers["ETag"]
    known = {"If-None-Match": tag}
    same = await reader.post(_ALL, json=_OURS, headers=known)
    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    await _enable(conn, "ai_insights")
    await until(lambda: _differs(reader, known), what="the change is seen")
    problem(await reader.post(_ALL, json=_OURS, headers={"If-None-Match": "x"}), 400, "invalid_entity_tag")


async def _differs(client: httpx.AsyncClient, known: dict[str, str]) -> bool:
    return bool((await client.post(_ALL, json=_OURS, headers=known)).status_code == 200)


async def _listening(api: Api, client: httpx.AsyncClient) -> None:
    await client.post(_ALL, json=_OURS)
    async with asyncio.timeout(10):
        await api.services.flags._listener.connected.wait()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which tenants the database was asked for."""
    asked: list[str] = []
    original = queries.of_tenant

    async def counted(conn: Any, tenant_id: str) -> Any:
        asked.append(tenant_id)
        return await original(conn, tenant_id)

    monkeypatch.setattr(queries, "of_tenant", counted)
    return asked


async def test_while_nothing_changes_the_database_is_asked_once(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection, reads: list[str]
) -> None:
    await make_tenant(conn)
    await make_tenant(conn, "global_inc")
    await _listening(idle_api, reader)
    for tenant_id in ("acme_corp", "global_inc"):
        await _values(reader, tenant_id)
    reads.clear()
    for _ in range(5):
        await _values(reader)
        await reader.post(f"{_ALL}/ai_insights", json=_OURS)
    assert reads == []
    await _enable(conn, "ai_insights")
    await until(lambda: _is_on(reader), what="the change is seen")
    assert set(reads) == {"acme_corp"}
    reads.clear()
    await _values(reader, "global_inc")
    assert reads == [], "the other tenant's are kept"


async def _is_on(client: httpx.AsyncClient, name: str = "ai_insights") -> bool:
    return (await _values(client)).get(name, False)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("UPDATE bf_shared.tenant_config SET subscription_tier = 'premium'", "ai_insights"),
        ("UPDATE bf_control.feature SET enabled_by_default = true WHERE name = 'ai_insights'", "ai_insights"),
        ("INSERT INTO bf_control.feature (name, tier) VALUES ('exports', 'basic')", "exports"),
        ("UPDATE bf_control.feature SET tier = 'basic' WHERE name = 'ai_insights'", "ai_insights"),
        ("UPDATE bf_control.tier SET rank = 100 WHERE name = 'standard'", "ai_insights"),
        ("SELECT bf_control.set_feature('acme_corp', 'ai_insights', true)", "ai_insights"),
    ],
)
async def test_whatever_changes_features_is_seen_long_before_the_age_ends_it(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection, change: str, name: str
) -> None:
    await make_tenant(conn)
    await _listening(idle_api, reader)
    assert not await _is_on(reader, name)
    await conn.execute(change)
    await until(lambda: _is_on(reader, name), what="the change is seen", within=10)


async def test_without_a_listener_nothing_is_kept(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await _listening(idle_api, reader)
    await _values(reader)
    await idle_api.services.flags.stop()
    await _enable(conn, "ai_insights")
    assert await _is_on(reader)
    await _enable(conn)
    assert not await _is_on(reader)


async def test_a_listener_whose_connection_was_cut_comes_back_and_looks_for_itself(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await _listening(idle_api, reader)
    await _values(reader)
    await superuser.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'bf-admin listener' AND datname = current_database()"
    )
    await _enable(conn, "ai_insights")
    await until(lambda: _is_on(reader), what="the change is seen", within=10)
    await _listening(idle_api, reader)


async def test_what_is_kept_ends_with_its_age_whatever_the_listener_believes(
    settings: Settings, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    short = settings.model_copy(update={"flags_max_age": 0.3})
    async with running_api(short, with_worker=False) as api:
        headers = {"Authorization": f"Bearer {await api.key(Role.READER)}"}
        transport = httpx.ASGITransport(api.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
            await _listening(api, client)
            await _values(client)
            api.services.flags._listener._deliver = lambda _: None  # as a connection that is dead, unnoticed
            await _enable(conn, "ai_insights")
            assert not await _is_on(client)
            await asyncio.sleep(0.3)
            assert await _is_on(client)


async def test_what_changes_while_it_is_read_is_not_kept(
    reader: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_tenant(conn)
    await _listening(idle_api, reader)
    original = queries.of_tenant

    async def overtaken(connection: Any, tenant_id: str) -> Any:
        features = await original(connection, tenant_id)
        await _enable(conn, "ai_insights")
        await asyncio.sleep(0.3)
        return features

    monkeypatch.setattr(queries, "of_tenant", overtaken)
    await idle_api.services.flags._listener.connected.wait()
    idle_api.services.flags._forget_all()
    assert not await _is_on(reader)
    monkeypatch.setattr(queries, "of_tenant", original)
    assert await _is_on(reader)


async def test_a_process_that_nobody_asks_for_flags_listens_to_none(
    idle_api: Api, superuser: asyncpg.Connection
) -> None:
    listening = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query ~ 'LISTEN.*bf_feature'"
        " AND pid <> pg_backend_pid()"
    )
    assert await superuser.fetchval(listening) == 0
