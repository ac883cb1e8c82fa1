"""What a stream of events costs its process, and what is left of it when its client has gone: nothing."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import httpx
from fastapi.sse import KEEPALIVE_COMMENT

from app.main import Services, create_app
from app.operations import stream
from app.server import Server
from app.settings import Settings
from tests.support.api import Api
from tests.support.events import following
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.processes import answers

_GONE = 20
# Each client would read the machine's certificates, which nobody presents here.
_NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
_LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"


@dataclass(frozen=True, slots=True)
class Inside:
    """A server on a real port in this process, which can be looked into."""

    services: Services
    client: httpx.AsyncClient


@asynccontextmanager
async def _inside(settings: Settings) -> AsyncIterator[Inside]:
    app, port = create_app(settings), free_port()
    server = Server(app, host="127.0.0.1", port=port, drain=5, head_seconds=10, started=lambda: None)
    running = asyncio.create_task(server.run_until_signal())
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            await answers(client, "/readyz")
            assert settings.bootstrap_admin_key_file is not None
            client.headers["Authorization"] = f"Bearer {settings.bootstrap_admin_key_file.read_text().strip()}"
            yield Inside(app.state.services, client)
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, 10)


async def _queued(client: httpx.AsyncClient) -> str:
    response = await client.post("/v1/tenants", json={"tenant_id": "acme_corp", "tenant_name": "ACME"})
    location: str = response.headers["operation-location"]
    return location


async def test_of_clients_that_went_away_nothing_is_left(settings: Settings, conn: asyncpg.Connection) -> None:
    async with _inside(settings) as inside:
        waiter, pool = inside.services.waiter, inside.services.database.pool
        location = await _queued(inside.client)
        tasks, streams = len(asyncio.all_tasks()), []
        listening = await conn.fetchval(_LISTENING)
        async with AsyncExitStack() as stack:
            for _ in range(_GONE):
                at = {"base_url": inside.client.base_url, "headers": inside.client.headers, "verify": _NO_AUTHORITIES}
                one = httpx.AsyncClient(**at)
                client = await stack.enter_async_context(one)
                streams.append(await stack.enter_async_context(following(client, location)))
                assert (await anext(streams[-1])).name == "queued"
            assert len(waiter._events[location.rpartition("/")[2]]) == _GONE
            assert len(asyncio.all_tasks()) > tasks
            assert await conn.fetchval(_LISTENING) == listening

        async def let_go() -> bool:
            return not waiter._events and len(asyncio.all_tasks()) <= tasks and pool.get_idle_size() == pool.get_size()

        await until(let_go, within=5, what="the end of what served them")
        assert await conn.fetchval(_LISTENING) == listening
        assert (await inside.client.post(f"{location}/cancel")).status_code == 200


async def test_a_stream_outlives_the_deadline_of_a_request(settings: Settings) -> None:
    """That is for the beginning of an answer: a stream may take as long as its operation."""
    async with _inside(settings.model_copy(update={"request_timeout": 0.8})) as inside:
        location = await _queued(inside.client)
        async with asyncio.timeout(10), following(inside.client, location) as events:
            assert (await anext(events)).name == "queued"
            await asyncio.sleep(1)
            assert (await inside.client.post(f"{location}/cancel")).status_code == 200
            assert [event.name async for event in events] == ["cancelled"]


async def test_silence_is_broken_by_comments_that_are_no_events(idle_api: Api) -> None:
    services, location = idle_api.services, await _queued(idle_api.client)
    operation_id = UUID(location.rpartition("/")[2])
    following_it = stream.follow(services.database, services.waiter, operation_id, after=0, ping_every=0.2)
    async with asyncio.timeout(10), aclosing(following_it) as chunks:
        first = await anext(chunks)
        assert first.startswith(b"event: queued\n")
        assert [await anext(chunks), await anext(chunks)] == [KEEPALIVE_COMMENT] * 2
        assert KEEPALIVE_COMMENT.startswith(b":"), "what a client passes over"
        await idle_api.client.post(f"{location}/cancel")
        rest = [chunk async for chunk in chunks]
    assert [chunk for chunk in rest if chunk != KEEPALIVE_COMMENT] == [rest[-1]]
    assert rest[-1].startswith(b"event: cancelled\n")
    assert not services.waiter._events
