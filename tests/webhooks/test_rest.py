"""/v1/webhooks: making, reading, changing and deleting them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from app.keyring import CannotDecrypt, Keyring, parse_keys
from app.webhooks import service
from tests.integrations.support import KEY, OTHER_KEY
from tests.support.api import Api, running_api
from tests.support.data import make_tenant, settings_for
from tests.support.problems import problem
from tests.support.tables import counts

_URL = "https://hooks.example.com/bf"


async def _make(api: Api, **body: Any) -> dict[str, Any]:
    answer = await api.client.post("/v1/webhooks", json={"url": _URL, **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def test_its_secret_is_shown_once_and_readable_nowhere(idle_api: Api, superuser: asyncpg.Connection) -> None:
    headers = {"Idempotency-Key": "k1"}
    first = await idle_api.client.post("/v1/webhooks", json={"url": _URL, "description": "Billing"}, headers=headers)
    made = first.json()
    assert (first.status_code, first.headers["cache-control"]) == (201, "no-store")
    assert first.headers["location"] == f"/v1/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    again = await idle_api.client.post("/v1/webhooks", json={"url": _URL, "description": "Billing"}, headers=headers)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (201, "true")
    assert again.json() == {**made, "secret": None}
    read = await idle_api.client.get(first.headers["location"])
    assert read.json() == {name: value for name, value in made.items() if name != "secret"}
    listed = await idle_api.client.get("/v1/webhooks")
    assert listed.json() == {"items": [read.json()]}
    secret = made["secret"].removeprefix("whsec_")
    for table in ("webhook", "webhook_secret", "idempotency_key", "audit"):
        rows = await superuser.fetch(f"SELECT t::text FROM bf_control.{table} t")  # noqa: S608
        assert rows
        assert secret not in str(rows), table


async def test_what_is_changed_is_audited_with_who_did(idle_api: Api, conn: asyncpg.Connection) -> None:
    made = await _make(idle_api)
    path = f"/v1/webhooks/{made['id']}"
    for verb, body in (
        ("rotate", None),
        ("enable", None),
        ("test", None),
        ("replay", {"since": "2026-01-01T00:00:00Z"}),
    ):
        assert (await idle_api.client.post(f"{path}/{verb}", json=body)).status_code == 200, verb
    assert (await idle_api.client.delete(path)).status_code == 204
    rows = await conn.fetch(
        "SELECT action, actor FROM bf_control.audit WHERE target = $1 ORDER BY id", f"webhook/{made['id']}"
    )
    actions = ["create", "rotate", "test", "replay", "delete"]
    assert [row["action"] for row in rows] == [f"webhook.{one}" for one in actions], "enabling changed nothing"
    assert {row["actor"][:4] for row in rows} == {"key:"}


async def test_what_is_wrong_is_said(idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    for body in (
        {}, {"url": "http://hooks.example.com"}, {"url": "https://10.0.0.1"}, {"url": "https://user:pw@hooks.example.com"},
        {"url": "https://2130706433"}, {"url": _URL, "event_types": ["tenant.created"]},
        {"url": _URL, "tenant_id": "nobody"},
        {"url": _URL, "event_types": ["platform.apg.bf.tenant.created"] * 2}, {"url": _URL, "secret": "whsec_x"},
        {"url": _URL, "description": "a\0b"}, {"url": _URL, "description": "x" * 501},
        {"url": _URL, "tenant_id": "A'--"},
    ):  # fmt: skip
        with subtests.test(str(body)[:60]):
            problem(await idle_api.client.post("/v1/webhooks", json=body), 422, "validation_failed")
    path = f"/v1/webhooks/{(await _make(idle_api))['id']}"
    for body in (
        {}, {"since": "2026-01-31T09:00:00"},
        {"since": "0001-01-01T00:00:00+14:00"}, {"since": "9999-12-31T23:59:59-14:00"},
        {"since": "2026-01-31T09:00:00Z", "delivery_id": str(uuid4())}, {"since": 5e30},
    ):  # fmt: skip
        with subtests.test(str(body)):
            problem(await idle_api.client.post(f"{path}/replay", json=body), 422, "validation_failed")
    problem(await idle_api.client.post(f"{path}/replay", json={"delivery_id": str(uuid4())}), 404, "delivery_not_found")
    problem(await idle_api.client.post(f"{path}/rotate", json={"overlap_seconds": -1}), 422, "validation_failed")
    for unknown in (str(uuid4()), "none", "%00"):
        problem(await idle_api.client.get(f"/v1/webhooks/{unknown}"), 404, "webhook_not_found")
        problem(await idle_api.client.delete(f"/v1/webhooks/{unknown}"), 404, "webhook_not_found")
    problem(await idle_api.client.delete(path, headers={"If-Match": '"other"'}), 412, "precondition_failed")
    tag = (await idle_api.client.get(path)).headers["etag"]
    assert (await idle_api.client.delete(path, headers={"If-Match": tag})).status_code == 204


async def test_a_dry_run_leaves_nothing(idle_api: Api, superuser: asyncpg.Connection) -> None:
    dry = {"validate_only": "true"}
    path = f"/v1/webhooks/{(await _make(idle_api))['id']}"
    before = await counts(superuser)
    answer = await idle_api.client.post("/v1/webhooks", params=dry, json={"url": _URL})
    assert (answer.status_code, answer.json()["secret"]) == (200, None)
    for verb in ("rotate", "enable", "test"):
        assert (await idle_api.client.post(f"{path}/{verb}", params=dry)).status_code == 200
    since = {"since": "2026-01-31T09:00:00Z"}
    assert (await idle_api.client.post(f"{path}/replay", params=dry, json=since)).status_code == 200
    assert (await idle_api.client.delete(path, params=dry)).status_code == 204
    assert await counts(superuser) == before


async def test_without_keys_there_is_no_secret_to_keep(dsn: str, tmp_path: Path) -> None:
    settings = settings_for(dsn, bootstrap_admin_key_file=tmp_path / "admin-key")
    async with running_api(settings, with_worker=False) as api:
        problem(await api.client.post("/v1/webhooks", json={"url": _URL}), 409, "secret_keys_missing")


async def test_lists_are_paged_and_filtered(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    made = [await _make(idle_api, tenant_id=tenant) for tenant in (None, "acme_corp", None)]
    path, params, seen = "/v1/webhooks", {"page_size": "2"}, []
    while True:
        page = (await idle_api.client.get(path, params=params)).json()
        seen += [one["id"] for one in page["items"]]
        if "next_page_token" not in page:
            break
        params["page_token"] = page["next_page_token"]
    assert seen == [one["id"] for one in made]
    own = (await idle_api.client.get(path, params={"tenant_id": "acme_corp"})).json()["items"]
    assert [one["id"] for one in own] == [made[1]["id"]]
    for _ in range(5):
        await idle_api.client.post(f"{path}/{seen[0]}/test")
    params, deliveries = {"page_size": "2", "status": "pending"}, []
    while True:
        page = (await idle_api.client.get(f"{path}/{seen[0]}/deliveries", params=params)).json()
        deliveries += [one["occurred_at"] for one in page["items"]]
        if "next_page_token" not in page:
            break
        params["page_token"] = page["next_page_token"]
    assert len(deliveries) == 5
    assert deliveries == sorted(deliveries, reverse=True)
    problem(await idle_api.client.get(path, params={"page_token": "x"}), 400, "invalid_page_token")
    other = await idle_api.client.get(f"{path}/{seen[1]}/deliveries", params=params)
    problem(other, 400, "invalid_page_token")


async def test_a_replay_goes_on_where_it_was_cut(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    made = await _make(idle_api)
    origin, begun = service.Origin(actor="tests"), datetime.now(UTC) - timedelta(hours=1)
    async with idle_api.database.transaction() as own:
        webhook = await service.require(own, service.webhook_id(made["id"]))
        replayed, following = await service.replay_since(own, webhook, begun, origin=origin, limit=1)
        assert (replayed, following is not None) == (1, True)
        assert following is not None
        assert await service.replay_since(own, webhook, following, origin=origin) == (2, None)


async def test_what_a_tenant_was_told_is_not_told_to_the_next_one_of_its_id(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    made = await _make(idle_api, tenant_id="acme_corp")
    async with conn.transaction():
        await conn.execute("SELECT bf_shared.delete_tenant('acme_corp')")
        await conn.execute("DROP SCHEMA bf_acme_corp CASCADE")
        await conn.execute("UPDATE bf_control.tenant SET state = 'purging'")
        await conn.execute("SELECT bf_control.forget_tenant('acme_corp')")
        await conn.execute(
            "INSERT INTO bf_control.tenant_tombstone (tenant_id, generation, tenant_name, schema_name, purged_by)"
            " VALUES ('acme_corp', 1, 'A', 'bf_acme_corp', 't')"
        )
    path = f"/v1/webhooks/{made['id']}"
    kinds = [
        one["event_type"].rpartition(".")[2]
        for one in (await idle_api.client.get(f"{path}/deliveries")).json()["items"]
    ]
    assert kinds == ["purged", "deleted"], "and these are still sent"
    assert (await idle_api.client.get(path)).json()["disabled_reason"] == "tenant_purged"
    await make_tenant(conn)
    assert len((await idle_api.client.get(f"{path}/deliveries")).json()["items"]) == 2
    problem(await idle_api.client.post(f"{path}/enable"), 409, "webhook_tenant_purged")
    since = {"since": "2020-01-01T00:00:00Z"}
    problem(await idle_api.client.post(f"{path}/replay", json=since), 409, "webhook_tenant_purged")
    other = await _make(idle_api, tenant_id="acme_corp")
    replayed = await idle_api.client.post(f"/v1/webhooks/{other['id']}/replay", json=since)
    assert replayed.json()["replayed"] == 2, "of the new one alone"


async def test_deleting_one_while_its_tenant_changes_fails_neither(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    made = await _make(idle_api)
    async with conn.transaction():
        await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
        assert (await idle_api.client.delete(f"/v1/webhooks/{made['id']}")).status_code == 204
    assert await conn.fetchval("SELECT count(*) FROM bf_control.webhook_delivery") == 1, "for the next tidying"


async def test_no_more_than_a_hundred(idle_api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute(
        "INSERT INTO bf_control.webhook (url, created_by)"
        " SELECT 'https://hooks.example.com', 't' FROM generate_series(1, 100)"
    )
    problem(await idle_api.client.post("/v1/webhooks", json={"url": _URL}), 409, "too_many_webhooks")


async def test_secrets_go_under_another_key(idle_api: Api) -> None:
    made = await _make(idle_api)
    both, new = Keyring(parse_keys(f"{OTHER_KEY},{KEY}")), Keyring(parse_keys(OTHER_KEY))
    async with idle_api.database.transaction() as own:
        webhook = await service.require(own, service.webhook_id(made["id"]))
        keys = await service.signing_keys(own, both, webhook)
        with pytest.raises(CannotDecrypt):
            await service.signing_keys(own, new, webhook)
        assert await service.reencrypt(own, both) == (1, 0, [])
        assert await service.reencrypt(own, both) == (0, 1, [])
        assert await service.signing_keys(own, new, webhook) == keys
        old = Keyring(parse_keys(KEY))
        assert [one for one, _ in (await service.reencrypt(own, old))[2]] == [webhook.id]
