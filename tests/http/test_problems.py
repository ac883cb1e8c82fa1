"""problem+json for everything, request ids, and answers that tell nothing they should not."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
from structlog.testing import capture_logs

from app.log import with_ids
from app.main import MAX_BODY
from app.settings import Settings
from tests.support import oracle
from tests.support.api import Api, running_api
from tests.support.data import LATEST, make_tenant, settings_for
from tests.support.polling import waiting_for_locks
from tests.support.problems import problem

_JSON = {"Content-Type": "application/json"}


async def test_paths_that_are_none_are_404(idle_api: Api, subtests: pytest.Subtests) -> None:
    for path in (
        "/nothing",
        "/v1",
        "/v2/tenants",
        "/v1/tenants/acme/nothing",
        "/v1/tenants/a/b/c",
        "/%2e%2e/etc",
        "/V1/TENANTS",
        "/v1/tenants/",
        "/livez/",
    ):
        with subtests.test(path):
            problem(await idle_api.client.get(path), 404, "not_found")


async def test_methods_that_a_path_does_not_take_are_405_with_allow(idle_api: Api, subtests: pytest.Subtests) -> None:
    for method, path, allowed in (
        ("PUT", "/v1/tenants", {"GET", "HEAD", "POST", "PATCH", "DELETE"}),
        ("PUT", "/v1/schema", {"GET", "HEAD"}),
        ("GET", "/v1/schema/upgrade", {"POST"}),
        ("POST", "/livez", {"GET", "HEAD"}),
        ("POST", "/v1/operations/x", {"GET", "HEAD"}),
        ("POST", "/v1/operations/x/events", {"GET"}),
        ("BREW", "/v1/schema", {"GET", "HEAD"}),
    ):
        with subtests.test(f"{method} {path}"):
            response = await idle_api.client.request(method, path)
            problem(response, 405, "method_not_allowed")
            assert set(response.headers["allow"].replace(" ", "").split(",")) == allowed


async def test_head_is_get_without_the_body(idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests) -> None:
    await make_tenant(conn)
    operation = (await idle_api.client.post("/v1/schema/upgrade")).headers["operation-location"]
    for path in (
        "/", "/livez", "/readyz", "/openapi.json", "/v1/schema", "/v1/schema/sql", "/v1/tenants",
        "/v1/tenants/acme_corp?view=full", "/v1/operations", operation, "/v1/tenants/nobody", "/nothing",
        "/v1/tenants?page_size=-1",
    ):  # fmt: skip
        with subtests.test(path.partition("-")[0]):
            headers = {"X-Request-ID": "same"}
            read = await idle_api.client.get(path, headers=headers)
            asked = await idle_api.client.head(path, headers=headers)
            assert (asked.status_code, asked.content) == (read.status_code, b"")
            assert asked.headers == read.headers
            assert int(asked.headers["content-length"]) == len(read.content)
    tag = (await idle_api.client.get("/v1/tenants/acme_corp")).headers["etag"]
    assert (await idle_api.client.head("/v1/tenants/acme_corp", headers={"If-None-Match": tag})).status_code == 304
    for path, allowed in (("/v1/schema/upgrade", "POST"), (f"{operation}/events", "GET")):
        with subtests.test(f"none for {path.rpartition('/')[2]}"):
            refused = await idle_api.client.head(path)
            assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


async def test_a_body_over_one_mebibyte_is_413_declared_and_chunked(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    prefix = b'{"tenant_id": "acme_corp", "tenant_name": "'
    large = prefix + b"x" * MAX_BODY

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 65536):
            yield large[start : start + 65536]

    for path in ("/v1/tenants", "/v1/schema/upgrade"):
        with subtests.test(f"declared {path}"):
            problem(await idle_api.client.post(path, content=large, headers=_JSON), 413)
        with subtests.test(f"chunked {path}"):
            problem(await idle_api.client.post(path, content=chunks(), headers=_JSON), 413)
    with subtests.test("declared, and never sent"):
        response = await idle_api.client.post("/v1/tenants", content=b"", headers={**_JSON, "Content-Length": "9" * 12})
        problem(response, 413)
    with subtests.test("as large as is allowed"):
        fits = b'{"tenant_id": "acme_corp", "tenant_name": "ACME"}'
        fits += b" " * (MAX_BODY - len(fits))
        assert (await idle_api.client.post("/v1/tenants", content=fits, headers=_JSON)).status_code == 202
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 1


async def test_content_that_is_no_json_is_415_and_says_what_to_send(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    raw = b'{"tenant_id": "acme_corp", "tenant_name": "ACME"}'
    for kind in (
        "text/plain",
        "application/xml",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonl",
        "application/problem+json",
        "application/json, text/plain",
        "",
        None,
    ):
        headers = {} if kind is None else {"Content-Type": kind}
        for method, path in (
            ("POST", "/v1/tenants"),
            ("PUT", "/v1/tenants/acme_corp"),
            ("PATCH", "/v1/tenants/acme_corp"),
            ("POST", "/v1/schema/upgrade"),
            ("POST", "/v1/operations/x/cancel"),
        ):
            with subtests.test(f"{kind} {method} {path}"):
                answer = await idle_api.client.request(method, path, content=raw, headers=headers)
                told = problem(answer, 415, "unsupported_media_type")
                assert "application/json" in told["detail"]
                assert ("application/merge-patch+json" in told["detail"]) == (method == "PATCH")
    with subtests.test("a patch is no request"):
        headers = {"Content-Type": "application/merge-patch+json"}
        problem(await idle_api.client.post("/v1/tenants", content=raw, headers=headers), 415)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant") == 0
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        with subtests.test(kind):
            body = raw.replace(b"acme_corp", b"acme_" + str(len(kind)).encode())
            response = await idle_api.client.post("/v1/tenants", content=body, headers={"Content-Type": kind})
            assert response.status_code == 202, response.text


async def test_nothing_needs_no_type(idle_api: Api, subtests: pytest.Subtests) -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    accepted = await idle_api.client.post("/v1/schema/upgrade")
    assert accepted.status_code == 202
    cancel = f"{accepted.headers['operation-location']}/cancel"
    for path, status in (("/v1/schema/upgrade", 202), (cancel, 200), (cancel.replace("cancel", "retry"), 202)):
        with subtests.test(path.rpartition("/")[2]):
            assert (await idle_api.client.post(path, content=nothing())).status_code == status


async def test_a_request_id_is_accepted_and_returned_if_it_is_one(idle_api: Api) -> None:
    response = await idle_api.client.get("/v1/schema", headers={"X-Request-ID": "req_1:2.3-4"})
    assert response.headers["x-request-id"] == "req_1:2.3-4"
    seen = set()
    for wrong in ("", "a b", "x" * 129, "<script>", "a'b", "a;b", 'a"b', "a%0Ab", "é".encode()):
        raw = wrong if isinstance(wrong, bytes) else wrong.encode()
        response = await idle_api.client.get("/nothing", headers=[(b"x-request-id", raw)])
        assert raw == b"" or raw not in response.headers["x-request-id"].encode()
        problem(response, 404)
        seen.add(response.headers["x-request-id"])
    assert len(seen) == 9


async def test_the_request_id_and_trace_stay_with_the_operation(idle_api: Api, conn: asyncpg.Connection) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"X-Request-ID": "req-1", "traceparent": trace}
    body = {"tenant_id": "acme_corp", "tenant_name": "ACME"}
    assert (await idle_api.client.post("/v1/tenants", json=body, headers=headers)).status_code == 202
    row = await conn.fetchrow("SELECT request_id, traceparent FROM bf_control.operation")
    assert tuple(row) == ("req-1", trace)


async def test_a_bug_is_500_and_says_nothing_but_the_request_id(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    """Real ones: a table that is gone, and a row that no code expects."""
    await superuser.execute("ALTER TABLE bf_control.tenant DROP CONSTRAINT tenant_state_check")
    await superuser.execute(
        """INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, created_by)
           VALUES ('odd_one', 'Odd', 'bf_odd_one', 'levitating', 1, 'tests')"""
    )
    with subtests.test("a state that is none"), capture_logs():
        body = problem(await idle_api.client.get("/v1/tenants/odd_one"), 500, "internal_error")
        assert "levitating" not in str(body)
    await superuser.execute("ALTER TABLE bf_control.tenant RENAME COLUMN tenant_name TO renamed")
    for path in ("/v1/tenants/acme_corp", "/v1/tenants"):
        with subtests.test(path), capture_logs([with_ids]) as logged:
            response = await idle_api.client.get(path, headers={"X-Request-ID": "req-500"})
            body = problem(response, 500, "internal_error")
            assert body["request_id"] == "req-500"
            assert "tenant_name" not in response.text
            assert [e["request_id"] for e in logged if e["event"] == "request_failed"] == ["req-500"], logged
    with subtests.test("the process goes on"):
        assert (await idle_api.client.get("/livez")).status_code == 200
        await superuser.execute("ALTER TABLE bf_control.tenant RENAME COLUMN renamed TO tenant_name")
        assert (await idle_api.client.get("/v1/tenants/acme_corp")).status_code == 404


async def test_every_answer_says_what_it_is(idle_api: Api) -> None:
    for path in ("/", "/livez", "/readyz", "/v1/schema", "/openapi.json", "/nothing"):
        response = await idle_api.client.get(path)
        assert response.headers["x-content-type-options"] == "nosniff", path
        assert response.headers["x-request-id"], path


async def test_the_front_page_says_whether_the_process_serves(idle_api: Api) -> None:
    response = await idle_api.client.get("/", headers={"Authorization": "nonsense"})
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert ">Ready</span>" in response.text
    assert "<script" not in response.text


async def test_with_every_connection_busy_the_answer_is_503_within_two_seconds(settings: Settings) -> None:
    small = settings.model_copy(update={"db_pool_max": 2})
    async with running_api(small, with_worker=False) as api:
        async with api.database.connection(), api.database.connection():
            begun = asyncio.get_running_loop().time()
            responses = await asyncio.gather(
                api.client.get("/v1/tenants"),
                api.client.post("/v1/tenants", json={"tenant_id": "acme", "tenant_name": "A"}),
                api.client.get("/v1/operations/x"),
            )
            live = await api.client.get("/livez")
            assert asyncio.get_running_loop().time() - begun < 2
            for response in responses:
                problem(response, 503, "unavailable")
            assert live.status_code == 200
            ready = await api.client.get("/readyz")
            assert (ready.status_code, ready.json()["checks"]["database"]["status"]) == (503, "fail")
            assert "Not ready: database (unavailable)" in (await api.client.get("/")).text
        assert (await api.client.get("/v1/tenants")).status_code == 200
        assert (await api.client.get("/readyz")).status_code == 200
        assert ">Ready</span>" in (await api.client.get("/")).text


async def test_the_schema_is_told_and_brought_up_to_date(
    empty_dsn: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    settings = settings_for(empty_dsn, bootstrap_admin_key_file=tmp_path_factory.mktemp("key") / "admin-key")
    async with running_api(settings, with_worker=True) as api:
        before = (await api.client.get("/v1/schema")).json()
        assert (before["up_to_date"], before["current"]["shared"], before["current"]["tenant"]) == (False, None, None)
        assert before["current"]["control"] == before["latest"]["control"]
        assert {m["layer"] for m in before["pending"]} == {"shared", "tenant"}
        assert all(len(m["checksum"]) == 64 for m in before["pending"] + before["applied"])
        headers = {"Prefer": "wait=20", "Idempotency-Key": "up"}
        first, joined = await asyncio.gather(
            api.client.post("/v1/schema/upgrade", headers=headers),
            api.client.post("/v1/schema/upgrade", json={"target": "latest"}, headers={"Prefer": "wait=20"}),
        )
        assert (first.status_code, joined.status_code) == (200, 200), (first.text, joined.text)
        assert first.headers["location"] == "/v1/schema"
        after = (await api.client.get("/v1/schema")).json()
        assert (after["up_to_date"], after["pending"], after["current"]) == (True, [], after["latest"])
        assert first.json() == after
        again = await api.client.post("/v1/schema/upgrade", headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json() == after
        assert (await api.provision()).status_code == 201
        assert (await api.client.get("/v1/schema")).json()["fleet"] == [{"schema_version": LATEST, "tenants": 1}]
        for body in ({"target": "7"}, {"target": None}, {"force": True}, []):
            problem(await api.client.post("/v1/schema/upgrade", json=body), 422)


async def test_slow_senders_hold_no_connection_of_the_database(idle_api: Api, conn: asyncpg.Connection) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b'{"tenant_id": "acme_corp",'
        started.set()
        await release.wait()
        yield b'"tenant_name": "ACME"}'

    sending = asyncio.create_task(idle_api.client.post("/v1/tenants", content=slow(), headers=_JSON))
    await started.wait()
    busy = await conn.fetchval(
        """SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
              AND application_name = 'bf-admin api' AND state <> 'idle'"""
    )
    release.set()
    assert busy == 0
    assert (await sending).status_code == 202


async def test_the_client_that_goes_away_while_it_waits_leaves_the_work_to_be_done(
    api: Api, superuser: asyncpg.Connection, conn: asyncpg.Connection, settings: Settings
) -> None:
    async with superuser.transaction():
        await superuser.execute("LOCK TABLE bf_shared.tenant_config IN SHARE MODE")
        waiting = asyncio.create_task(api.provision())
        await waiting_for_locks(conn)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await oracle.settled(conn)
    assert (await api.client.get("/v1/tenants/acme_corp")).json()["state"] == "active"
    await oracle.assert_clean(settings.direct_dsn())
