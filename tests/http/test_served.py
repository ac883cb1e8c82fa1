"""What only real processes can show: three that serve and one that works, on one database."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from app.main import MAX_BODY
from tests.support import oracle
from tests.support.polling import ended, until, waiting_for_locks
from tests.support.problems import problem
from tests.support.processes import Served, environment, logged, served
from tests.support.sockets import Heard, chunk, head, wire

_EQUAL = 60
_JSON = {"Content-Type": "application/json"}
_TIMEOUT = 2.5
_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass(frozen=True, slots=True)
class Fleet:
    dsn: str
    services: list[Served]
    worker_log: Path

    def client(self, number: int) -> httpx.AsyncClient:
        return self.services[number % len(self.services)].client

    def worked(self) -> list[dict[str, Any]]:
        """What the worker said of operations that succeeded."""
        lines = [json.loads(line) for line in self.worker_log.read_text().splitlines()]
        return [line for line in lines if line["event"] == "operation_succeeded"]


@pytest.fixture
async def fleet(dsn: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    env = environment(dsn, BF_REQUEST_TIMEOUT=str(_TIMEOUT))
    log = tmp_path / "worker.log"
    async with AsyncExitStack() as stack:
        # The first by itself: it makes the key, and compiles the modules that all of them load.
        first = await stack.enter_async_context(served(env=env, directory=tmp_path))
        await stack.enter_async_context(logged("worker", env=env, log=log))
        others = (stack.enter_async_context(served(env=env, directory=tmp_path)) for _ in range(2))
        yield Fleet(dsn, [first, *await asyncio.gather(*others)], log)


async def _sixty_equal_posts_with_one_key_are_one_tenant(fleet: Fleet, conn: asyncpg.Connection) -> None:
    body = {"tenant_id": "storm", "tenant_name": "Storm"}
    headers = {"Idempotency-Key": "storm", "Prefer": "wait=20"}
    answers = await asyncio.gather(
        *(fleet.client(n).post("/v1/tenants", json=body, headers=headers) for n in range(_EQUAL))
    )
    assert {answer.status_code for answer in answers} <= {201, 202, 409}, Counter(a.status_code for a in answers)
    for answer in answers:
        if answer.status_code == 409:
            problem(answer, 409, "idempotency_key_in_flight")
    told = [answer for answer in answers if answer.status_code != 409]
    assert [answer.status_code for answer in told if "idempotent-replayed" not in answer.headers] == [201]
    assert len({answer.headers["operation-location"] for answer in told}) == 1
    replays = [await fleet.client(n).post("/v1/tenants", json=body, headers=headers) for n in range(3)]
    assert {(replay.status_code, replay.headers["idempotent-replayed"]) for replay in replays} == {(201, "true")}
    assert len({replay.content for replay in replays}) == 1
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation WHERE tenant_id = 'storm'") == 1


async def _equal_puts_at_once_are_one_tenant(fleet: Fleet, conn: asyncpg.Connection) -> None:
    headers = {"Prefer": "wait=20"}
    answers = await asyncio.gather(
        *(fleet.client(n).put("/v1/tenants/puts", json={"tenant_name": "P"}, headers=headers) for n in range(30))
    )
    assert {answer.status_code for answer in answers} <= {200, 201, 202}, Counter(a.status_code for a in answers)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.operation WHERE tenant_id = 'puts'") == 1
    again = await fleet.client(1).put("/v1/tenants/puts", json={"tenant_name": "P"})
    assert (again.status_code, again.json()["state"]) == (200, "active")


async def _of_changes_with_one_tag_one_wins(fleet: Fleet, _: asyncpg.Connection) -> None:
    path = "/v1/tenants/puts"
    tags = [(await fleet.client(n).get(path)).headers["etag"] for n in range(3)]
    assert len(set(tags)) == 1, "the same tag from every process"
    answers = await asyncio.gather(
        *(fleet.client(n).patch(path, json={"tenant_name": f"P {n}"}, headers={"If-Match": tags[0]}) for n in range(12))
    )
    assert Counter(answer.status_code for answer in answers) == {200: 1, 412: 11}


async def _who_hangs_up_while_waiting_finds_the_work_done_under_the_key(fleet: Fleet, conn: asyncpg.Connection) -> None:
    """The build is held by a lock of the test's until the client is gone."""
    body = json.dumps({"tenant_id": "gone", "tenant_name": "Gone"}).encode()
    length, key = str(len(body)), "gone-1"
    holder = await asyncpg.connect(fleet.dsn)
    try:
        async with holder.transaction():
            await holder.execute("LOCK TABLE bf_shared.tenant_config IN SHARE MODE")
            async with wire(fleet.client(0)) as client:
                begin = head(
                    fleet.client(0), "POST", "/v1/tenants", Prefer="wait=20", Idempotency_Key=key, Content_Length=length
                )
                await client.send(begin + body)
                await waiting_for_locks(conn)
    finally:
        await holder.close()
    location = await conn.fetchval(
        "SELECT concat('/v1/operations/', id) FROM bf_control.operation WHERE tenant_id = 'gone'"
    )
    assert (await ended(fleet.client(0), location))["status"] == "succeeded"

    async def replayed() -> httpx.Response | None:
        answer = await fleet.client(1).post("/v1/tenants", content=body, headers=_JSON | {"Idempotency-Key": key})
        assert answer.status_code in {201, 202}, answer.text
        assert answer.headers["idempotent-replayed"] == "true"
        return answer if answer.status_code == 201 else None

    answer = await until(replayed, what="the 201 under the key")
    assert answer is not None
    assert answer.json()["state"] == "active"
    assert (await fleet.client(0).get("/livez")).status_code == 200


async def _a_body_of_one_mebibyte_is_read_and_one_byte_more_is_not(fleet: Fleet, conn: asyncpg.Connection) -> None:
    prefix, suffix = b'{"tenant_id": "large", "tenant_name": "', b'"}'
    fits = prefix + b"x" * (MAX_BODY - len(prefix) - len(suffix)) + suffix
    assert len(fits) == MAX_BODY

    async def chunks(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 65536):
            yield body[start : start + 65536]

    client = fleet.client(2)
    for content in (fits, chunks(fits)):
        body = problem(await client.post("/v1/tenants", content=content, headers=_JSON), 422, "validation_failed")
        assert [error["pointer"] for error in body["errors"]] == ["/tenant_name"]
    over = fits + b" "
    for content in (over, chunks(over), b"x" * (4 * MAX_BODY), chunks(b"x" * (4 * MAX_BODY))):
        answer = await client.post("/v1/tenants", content=content, headers=_JSON)
        problem(answer, 413, "body_too_large")
        assert answer.headers["connection"] == "close"
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant WHERE tenant_id = 'large'") == 0


async def _who_sends_a_body_slowly_is_told_408_and_cut_off(fleet: Fleet, conn: asyncpg.Connection) -> None:
    """Half of it and then nothing, nothing at all, and a byte now and then, declared and in chunks."""
    body = json.dumps({"tenant_id": "slow", "tenant_name": "Slow"}).encode()
    client = fleet.client(0)
    declared = head(client, "POST", "/v1/tenants", Content_Length=str(len(body)))
    chunked = head(client, "POST", "/v1/tenants", Transfer_Encoding="chunked")
    put = head(client, "PUT", "/v1/tenants/slow", Content_Length=str(len(body)))
    trickle = [declared, *(bytes([byte]) for byte in body[:20])]
    for heard in await asyncio.gather(
        *(
            _sent_slowly(client, parts)
            for parts in ([declared, body[:20]], [chunked, chunk(body[:20])], [declared], [put, body[:5]], trickle)
        )
    ):
        told = heard.json()
        assert (heard.status, told["status"], told["code"]) == (408, 408, "body_timeout")
        assert heard.headers["content-type"] == "application/problem+json"
        assert (heard.headers["connection"], told["request_id"]) == ("close", heard.headers["x-request-id"])
    assert await conn.fetchval("SELECT count(*) FROM bf_control.tenant WHERE tenant_id = 'slow'") == 0


async def _sent_slowly(client: httpx.AsyncClient, parts: list[bytes]) -> Heard:
    async with wire(client) as connection:
        for part in parts:
            await connection.send(part)
            await asyncio.sleep(0.02)
        return await connection.heard(within=_TIMEOUT + 3)


async def _head_leaves_the_connection_usable(fleet: Fleet, _: asyncpg.Connection) -> None:
    for path in ("/v1/schema", "/v1/tenants/nobody", "/v1/schema"):
        asked, read = await fleet.client(0).head(path), await fleet.client(0).get(path)
        assert (asked.status_code, asked.content) == (read.status_code, b"")
        assert int(asked.headers["content-length"]) == len(read.content)


async def _a_trace_goes_from_the_request_to_the_worker_s_log(fleet: Fleet, conn: asyncpg.Connection) -> None:
    parent = f"00-{_TRACE}-00f067aa0ba902b7-01"
    headers = {"traceparent": parent, "X-Request-ID": "traced-1", "Prefer": "wait=20"}
    body = {"tenant_id": "traced", "tenant_name": "Traced"}
    answer = await fleet.client(0).post("/v1/tenants", json=body, headers=headers)
    assert (answer.status_code, answer.headers["x-request-id"]) == (201, "traced-1")
    row = await conn.fetchrow("SELECT id, traceparent, request_id FROM bf_control.operation WHERE tenant_id = 'traced'")
    assert (row["traceparent"], row["request_id"]) == (parent, "traced-1")
    invalid = {"traceparent": f"ff-{_TRACE}-00f067aa0ba902b7-01", "X-Request-ID": "untraced", "Prefer": "wait=20"}
    await fleet.client(0).post("/v1/tenants", json={**body, "tenant_id": "untraced"}, headers=invalid)

    async def said() -> dict[str, dict[str, Any]] | None:
        lines = {line["request_id"]: line for line in fleet.worked()}
        return lines if {"traced-1", "untraced"} <= lines.keys() else None

    lines = await until(said, what="the worker's log lines")
    assert lines is not None
    told = lines["traced-1"]
    assert (told["trace_id"], told["operation_id"], told["tenant_id"]) == (_TRACE, str(row["id"]), "traced")
    assert "trace_id" not in lines["untraced"]
    requests = [json.loads(line) for line in fleet.services[0].log.read_text().splitlines()]
    of_trace = [line for line in requests if line.get("trace_id") == _TRACE]
    assert [(line["event"], line["request_id"], line["status"]) for line in of_trace] == [("request", "traced-1", 201)]


async def _the_database_is_clean_and_no_log_has_an_error(fleet: Fleet, conn: asyncpg.Connection) -> None:
    await oracle.settled(conn)
    await oracle.assert_clean(fleet.dsn)
    for log in (fleet.worker_log, *(service.log for service in fleet.services)):
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert not [line for line in lines if line["level"] in {"error", "critical"}]


async def test_the_contract_over_three_processes(
    fleet: Fleet, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    """One test, as starting the processes is what takes time."""
    for step in (
        _sixty_equal_posts_with_one_key_are_one_tenant,
        _equal_puts_at_once_are_one_tenant,
        _of_changes_with_one_tag_one_wins,
        _who_hangs_up_while_waiting_finds_the_work_done_under_the_key,
        _a_body_of_one_mebibyte_is_read_and_one_byte_more_is_not,
        _who_sends_a_body_slowly_is_told_408_and_cut_off,
        _head_leaves_the_connection_usable,
        _a_trace_goes_from_the_request_to_the_worker_s_log,
        _the_database_is_clean_and_no_log_has_an_error,
    ):
        with subtests.test(step.__name__.strip("_").replace("_", " ")):
            await step(fleet, conn)
