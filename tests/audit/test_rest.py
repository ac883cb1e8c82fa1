"""GET /v1/audit and /v1/audit/verify, and the commands that do the same."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app import keyring
from app.apikeys.model import Role
from app.audit import queries, sealer
from app.client import AsyncClient
from app.settings import Settings
from tests.audit.support import TAMPER, add
from tests.support.api import Api, running_api
from tests.support.command import command
from tests.support.data import make_tenant
from tests.support.polling import until
from tests.support.problems import problem
from tests.support.processes import environment


@pytest.fixture
async def auditor(idle_api: Api) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"X-API-Key": await idle_api.key(Role.AUDITOR)}
    transport = httpx.ASGITransport(idle_api.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client:
        yield client


async def _all(auditor: httpx.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    while True:
        page = (await auditor.get("/v1/audit", params=query)).json()
        items += page["items"]
        if "next_page_token" not in page:
            return items
        query["page_token"] = page["next_page_token"]


async def test_every_row_comes_once_newest_first(auditor: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    await add(conn, 60)
    found = await _all(auditor, page_size=7)
    ids = [row["id"] for row in await conn.fetch("SELECT id FROM bf_control.audit ORDER BY occurred_at DESC, id DESC")]
    assert [row["id"] for row in found] == ids
    assert all(row["seal"] is None for row in found)


async def test_each_filter_and_all_of_them_together(auditor: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    await add(conn, 70)
    everything = await _all(auditor)
    sample = next(row for row in everything if row["request_id"] == "r33")
    for name, value in {
        "actor": sample["actor"], "action": "tests.act", "target": sample["target"], "outcome": "succeeded",
        "request_id": "r33", "tenant_id": sample["target"].removeprefix("tenant/"),
    }.items():  # fmt: skip
        column = "target" if name == "tenant_id" else name
        wanted = sample["target"] if name == "tenant_id" else value
        assert await _all(auditor, **{name: value}) == [row for row in everything if row[column] == wanted], name
    assert await _all(auditor, actor=sample["actor"], tenant_id="t3", outcome="succeeded", request_id="r33") == [sample]
    assert await _all(auditor, actor="nobody") == []
    assert await _all(auditor, tenant_id="%") == []
    at = sample["occurred_at"]
    assert await _all(auditor, **{"from": at}) == [row for row in everything if row["occurred_at"] >= at]
    assert await _all(auditor, to=at) == [row for row in everything if row["occurred_at"] < at]


async def test_a_denial_is_found_by_its_outcome(auditor: httpx.AsyncClient, idle_api: Api) -> None:
    problem(await auditor.get("/v1/tenants"), 403, "forbidden")
    await idle_api.services.denials.flush()
    (row,) = await _all(auditor, outcome="denied")
    assert row["target"] == "route/GET /v1/tenants"


async def test_what_is_wrong_with_a_question(auditor: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    await add(conn, 3)
    token = (await auditor.get("/v1/audit", params={"page_size": 1})).json()["next_page_token"]
    problem(await auditor.get("/v1/audit", params={"page_token": token, "actor": "x"}), 400, "invalid_page_token")
    problem(await auditor.get("/v1/audit", params={"page_token": token[:-2] + "AA"}), 400, "invalid_page_token")
    for name, value in (("outcome", "odd"), ("from", "soon"), ("actor", "\x00"), ("actor", "a" * 301), ("since", "x"),
                        ("to", "0001-01-01T00:00:00+14:00")):  # fmt: skip
        problem(await auditor.get("/v1/audit", params={name: value}), 422, "validation_failed")
    for name, value in (("from_seq", "0"), ("rows", "0"), ("rows", "20001"), ("from_seq", "x")):
        problem(await auditor.get("/v1/audit/verify", params={name: value}), 422, "validation_failed")
    problem(await auditor.get("/v1/audit/verify", params={"from_seq": "4711"}), 422, "validation_failed")


async def test_ndjson_is_all_of_it(auditor: httpx.AsyncClient, conn: asyncpg.Connection) -> None:
    await add(conn, 1203)
    answer = await auditor.get("/v1/audit", params={"actor": "tests:3"}, headers={"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.split("\n")[:-1]]
    assert lines == await _all(auditor, actor="tests:3", page_size=500)
    assert len(lines) == 172
    empty = await auditor.get("/v1/audit", params={"actor": "x"}, headers={"Accept": "application/x-ndjson"})
    assert (empty.status_code, empty.text) == (200, "")


async def test_an_auditor_alone_reads_it(idle_api: Api) -> None:
    for path in ("/v1/audit", "/v1/audit/verify"):
        problem(await idle_api.client.get(path), 403, "forbidden")


async def test_verification_in_several_calls_and_with_a_fault(
    auditor: httpx.AsyncClient, idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await add(conn, 30)
    await sealer.seal(idle_api.database)
    first = (await auditor.get("/v1/audit/verify", params={"rows": 20})).json()
    assert (first["ok"], first["complete"], first["rows"], first["next_seq"]) == (True, False, 20, 21)
    rest = (await auditor.get("/v1/audit/verify", params={"from_seq": 21})).json()
    assert (rest["ok"], rest["complete"], rest["next_seq"]) == (True, True, None)
    assert rest["head"]["seq"] == rest["last_seq"]
    (sealed,) = (await auditor.get("/v1/audit", params={"request_id": "r9"})).json()["items"]
    await superuser.execute(TAMPER)
    await superuser.execute("UPDATE bf_control.audit SET actor = 'x' WHERE request_id = 'r9'")
    bad = (await auditor.get("/v1/audit/verify")).json()
    assert (bad["ok"], bad["first_bad"]["fault"]) == (False, "altered")
    assert (bad["first_bad"]["audit_id"], bad["first_bad"]["seq"]) == (sealed["id"], sealed["seal"]["seq"])


async def test_the_worker_seals_and_anchors_by_itself(
    settings: Settings, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    keeping = settings.model_copy(update={"audit_anchor_url": str(tmp_path / "anchors")})
    async with running_api(keeping, with_worker=True) as api:
        await api.provision()

        async def anchored() -> list[Path]:
            return list(tmp_path.rglob("*.json"))

        await until(anchored)
        headers = {"X-API-Key": await api.key(Role.AUDITOR)}
        found = (await api.client.get("/v1/audit/verify", headers={**headers, "Authorization": ""})).json()
        assert found["ok"], found
        assert found["anchors_compared"] >= 1


async def test_who_saw_which_credentials_are_set_is_known(
    settings: Settings, conn: asyncpg.Connection, tmp_path: Path
) -> None:
    await make_tenant(conn)
    keyed = settings.model_copy(update={"secret_keys": type(settings.secret_keys)(keyring.new_key())})
    async with running_api(keyed, with_worker=False) as api:
        path = "/v1/tenants/acme_corp/integrations"
        body = {"enabled": True, "endpoint": "https://auth.acme.example", "credentials": {"token": "hunter2"}}
        count = "SELECT count(*) FROM bf_control.audit WHERE action = 'secrets.read'"
        assert (await api.client.get(path)).status_code == 200
        assert await conn.fetchval(count) == 0  # there is nothing to see
        made = await api.client.put(f"{path}/notification_engine", json=body)
        assert made.status_code == 201, made.text
        assert (await api.client.get(path)).status_code == 200
        assert (await api.client.get(f"{path}/notification_engine")).status_code == 200
    rows = await conn.fetch("SELECT * FROM bf_control.audit WHERE action = 'secrets.read' ORDER BY id")
    assert [row["target"] for row in rows] == ["tenant/acme_corp/integrations"] * 2
    assert json.loads(rows[0]["after"]) == {"credentials": {"notification_engine": ["token"]}}
    assert rows[0]["role"] == "admin"
    trail = await conn.fetchval("SELECT string_agg(a::text, ' ') FROM bf_control.audit a")
    assert "hunter2" not in trail


async def test_the_commands_say_the_same(dsn: str, conn: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
    await add(conn, 5)
    env = environment(dsn)
    listed = await command("audit", "list", "--request-id", "r2", env=env)
    assert "tests.act" in listed.stdout
    assert len(listed.stdout.splitlines()) == 2
    exported = await command("audit", "export", "--tenant-id", "t2", env=env)
    assert [json.loads(line)["request_id"] for line in exported.stdout.split("\n")[:-1]] == ["r2"]
    nowhere = await command("audit", "anchor", env=env)
    assert (nowhere.code, "BF_AUDIT_ANCHOR_URL" in nowhere.stderr) == (2, True)
    assert (await command("audit", "verify", env=env)).code == 0
    for wrong in (("--outcome", "odd"), ("--from", "soon")):
        assert (await command("audit", "list", *wrong, env=env)).code == 2
    await superuser.execute(TAMPER)
    await superuser.execute("UPDATE bf_control.audit_chain SET head_seq = 3")
    broken = await command("audit", "verify", env=env)
    assert (broken.code, "truncated" in broken.stderr) == (1, True)


async def test_the_client_reads_and_verifies(idle_api: Api, conn: asyncpg.Connection) -> None:
    await add(conn, 12)
    await sealer.seal(idle_api.database)
    key = await idle_api.key(Role.AUDITOR)
    transport = httpx.ASGITransport(idle_api.app)
    async with AsyncClient("http://test", api_key=key, transport=transport) as client:
        records = [record async for record in client.audit.list(actor="tests:2", page_size=1)]
        assert [record.request_id for record in records] == ["r9", "r2"]
        assert records[0].seal is not None
        assert [r async for r in client.audit.list(until=records[1].occurred_at, request_id="r9")] == []
        verified = await client.audit.verify()
        assert (verified.ok, verified.complete) == (True, True)


_MANY = """
INSERT INTO bf_control.audit (actor, action, target, outcome, request_id, occurred_at, xid)
SELECT 'key:' || n % 500, 'act.' || n % 300, 'tenant/t' || n % 1000,
       CASE WHEN n % 1000 = 0 THEN 'denied' ELSE 'succeeded' END, 'r' || n, now() - n * interval '1 second', '0'
  FROM generate_series(1, $1::integer) AS n
"""


async def test_each_filter_walks_an_index(conn: asyncpg.Connection, superuser: asyncpg.Connection) -> None:
    await superuser.execute(_MANY, 20_000)
    await superuser.execute("ANALYZE bf_control.audit")
    for walk, value in {
        "": None, "actor": "key:3", "action": "act.3", "target": "tenant/t3", "tenant_id": "t3", "outcome": "denied",
        "request_id": "r77",
    }.items():  # fmt: skip
        text = queries._LIST[walk]
        given = "NULL" if value is None else f"'{value}'"
        execute = f"""EXECUTE p ({given}, NULL, NULL, NULL, NULL, NULL, NULL,
                                 now() - interval '100 seconds', 0, '-infinity', 51)"""
        await conn.execute(f"PREPARE p AS {text}")
        for _ in range(7):  # until PostgreSQL has made up its mind whether it plans once or each time
            await conn.execute(execute)
        plan = await conn.fetchval(f"EXPLAIN (FORMAT JSON) {execute}")
        await conn.execute("DEALLOCATE p")
        assert "Seq Scan" not in plan, (walk, plan)
        assert '"Sort"' not in plan, (walk, plan)
