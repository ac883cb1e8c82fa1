"""GET /v1/operations/{id}/events at real processes: in order, whole, resumable, and over when the operation is."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support import gates, oracle
from tests.support.cluster import Cluster
from tests.support.data import make_tenant
from tests.support.events import all_of, following
from tests.support.polling import ended
from tests.support.problems import problem
from tests.support.processes import Served, environment, served

_FOLLOWERS = 50
# The most that the parts hold at a gate, one after the other.
_HELD = 10
_LISTENING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
_CONNECTED = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'bf-admin api'
"""


@dataclass(frozen=True, slots=True)
class Site:
    """Two processes on one database, the first with a worker. Its clock is not in UTC, what it tells must be."""

    dsn: str
    directory: Path
    working: Served
    plain: Served
    looking: asyncpg.Connection
    holder: asyncpg.Connection
    numbers: "count[int]"

    async def held(self) -> str:
        """The location of a provisioning that waits in its one transaction, until `holder` opens the gates."""
        number = next(self.numbers)
        tenant_id = f"held_{number}"
        await gates.shut(self.holder, {tenant_id: number})
        response = await self.plain.client.post("/v1/tenants", json={"tenant_id": tenant_id, "tenant_name": "H"})
        location: str = response.headers["operation-location"]
        await gates.reached(self.looking, 1)
        return location


@pytest.fixture
async def site(cluster: Cluster, dsn: str, tmp_path: Path) -> AsyncIterator[Site]:
    name = dsn.rpartition("/")[2]
    async with AsyncExitStack() as stack:
        holder, looking = await cluster.superuser(name), await asyncpg.connect(dsn)
        for conn in (holder, looking):
            stack.push_async_callback(conn.close)
        await holder.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'")
        await gates.install(looking, {f"held_{number}": number for number in range(_HELD)})
        env = environment(dsn)
        # One after the other: the second finds its modules compiled.
        working = await stack.enter_async_context(served("--with-worker", env=env, directory=tmp_path))
        plain = await stack.enter_async_context(served(env=env, directory=tmp_path))
        yield Site(dsn, tmp_path, working, plain, looking, holder, count())


async def _read(client: httpx.AsyncClient, location: str) -> dict[str, Any]:
    body: dict[str, Any] = (await client.get(location)).json()
    return body


async def _each_event_arrives_as_it_happens_and_says_what_a_get_says(site: Site) -> None:
    client = site.plain.client
    location = await site.held()
    async with asyncio.timeout(20), following(client, location) as events:
        queued, running = await anext(events), await anext(events)
        assert running.data == await _read(client, location)
        assert running.data["attempts"] == 1
        await gates.open_all(site.holder)
        rest = [event async for event in events]
    seen = [queued, running, *rest]
    assert [(event.id, event.name) for event in seen] == [(1, "queued"), (2, "running"), (3, "succeeded")]
    assert [event.data["status"] for event in seen] == [event.name for event in seen]
    assert rest[-1].data == await _read(client, location)
    assert queued.data == {**running.data, "status": "queued", "started_at": None, "attempts": 0}
    await oracle.settled(site.looking)


async def _a_client_that_comes_again_misses_nothing_and_sees_nothing_twice(site: Site) -> None:
    location = await site.held()
    clients = (site.plain.client, site.working.client)
    async with asyncio.timeout(20), AsyncExitStack() as stack:
        late = [
            await stack.enter_async_context(following(clients[after % 2], location, after=after)) for after in (0, 1, 2)
        ]
        await gates.open_all(site.holder)
        seen = [[event async for event in events] for events in late]
    whole = seen[0]
    assert [event.id for event in whole] == [1, 2, 3]
    assert seen == [whole, whole[1:], whole[2:]]
    for after in (0, 1, 2):
        assert await all_of(clients[after % 2], location, after=after) == whole[after:]
    over = await site.plain.client.get(f"{location}/events", headers={"Last-Event-ID": "3"})
    assert (over.status_code, over.content) == (204, b"")


async def _an_event_that_there_is_not_is_400_and_an_operation_404(site: Site) -> None:
    location = await site.held()
    for nonsense in ("x", "-1", "1.5", "1e3", "0x1", "", "1 2", "9" * 10, "9" * 400, "²", "1,2"):
        headers = [(b"Last-Event-ID", nonsense.encode())]
        response = await site.plain.client.get(f"{location}/events", headers=headers)
        problem(response, 400, "invalid_last_event_id")
    # Nobody has seen these yet: to wait for what comes after them would be to wait for ever.
    for early in ("3", "99"):
        response = await site.plain.client.get(f"{location}/events", headers={"Last-Event-ID": early})
        assert "without Last-Event-ID" in problem(response, 400, "invalid_last_event_id")["detail"]
    await gates.open_all(site.holder)
    await ended(site.plain.client, location)
    problem(
        await site.plain.client.get(f"{location}/events", headers={"Last-Event-ID": "4"}), 400, "invalid_last_event_id"
    )
    for unknown in ("00000000-0000-0000-0000-000000000000", "x"):
        problem(await site.plain.client.get(f"/v1/operations/{unknown}/events"), 404, "operation_not_found")


async def _many_follow_one_operation_over_one_listener_and_few_connections(site: Site) -> None:
    location = await site.held()
    following_all = asyncio.gather(*(all_of(site.plain.client, location) for _ in range(_FOLLOWERS)))
    async with asyncio.timeout(20), following(site.plain.client, location) as events:
        assert [(await anext(events)).name, (await anext(events)).name] == ["queued", "running"]
    assert await site.looking.fetchval(_LISTENING) == 6, "each process for operations, keys and events, and the queue"
    assert await site.looking.fetchval(_CONNECTED) <= 20, "BF_DB_POOL_MAX of each process"
    await gates.open_all(site.holder)
    seen = await asyncio.wait_for(following_all, 20)
    assert [event.name for event in seen[0]] == ["queued", "running", "succeeded"]
    assert all(events == seen[0] for events in seen)


async def _a_process_that_stops_ends_its_streams_and_another_goes_on_with_them(site: Site) -> None:
    async with served(env=environment(site.dsn), directory=site.directory) as leaving:
        location = await site.held()
        async with following(leaving.client, location) as events:
            seen = [await anext(events), await anext(events)]
            begun = asyncio.get_running_loop().time()
            leaving.process.send_signal(signal.SIGTERM)
            rest = [event async for event in events]
            assert asyncio.get_running_loop().time() - begun < 2
            assert rest == [], "nothing has happened"
        assert await asyncio.wait_for(leaving.process.wait(), 10) == 0
    async with following(site.plain.client, location, after=seen[-1].id) as events:
        await gates.open_all(site.holder)
        seen += [event async for event in events]
    assert [(event.id, event.name) for event in seen] == [(1, "queued"), (2, "running"), (3, "succeeded")]
    assert seen == await all_of(site.working.client, location)


async def _an_upgrade_tells_its_progress_before_its_end(site: Site) -> None:
    await oracle.settled(site.looking)
    for number in range(5):
        await make_tenant(site.looking, f"fleet_{number}")
    total = await site.looking.fetchval("SELECT count(*) FROM bf_control.tenant WHERE schema_version IS NOT NULL")
    gate = {"fleet_1": 90}
    await gates.next_version(site.looking, gate)
    await gates.shut(site.holder, gate)
    response = await site.plain.client.post("/v1/schema/upgrade")
    location = response.headers["operation-location"]
    async with asyncio.timeout(20), following(site.plain.client, location) as events:
        seen = [await anext(events) for _ in range(3)]
        assert seen[-1].data == await _read(site.plain.client, location)
        assert (seen[-1].data["status"], seen[-1].data["steps"][0]["status"]) == ("running", "running")
        await gates.open_all(site.holder)
        seen += [event async for event in events]
    assert [event.id for event in seen] == list(range(1, len(seen) + 1))
    names = [event.name for event in seen]
    assert names == ["queued", "running", *["progress"] * (len(seen) - 3), "succeeded"]
    progress = [event.data["progress"] for event in seen[2:-1]]
    assert (progress[0], progress[-1]) == ({"done": 1, "total": total}, {"done": total, "total": total})
    done = [reached["done"] for reached in progress]
    assert done == sorted(set(done))
    assert seen[-1].data == await _read(site.plain.client, location)
    await oracle.settled(site.looking)
    await oracle.assert_clean(site.dsn)


async def test_a_stream_of_events(site: Site, subtests: pytest.Subtests) -> None:
    """One test, as starting processes is what takes time; each part has an operation of its own."""
    for part in (
        _each_event_arrives_as_it_happens_and_says_what_a_get_says,
        _a_client_that_comes_again_misses_nothing_and_sees_nothing_twice,
        _an_event_that_there_is_not_is_400_and_an_operation_404,
        _many_follow_one_operation_over_one_listener_and_few_connections,
        _a_process_that_stops_ends_its_streams_and_another_goes_on_with_them,
        _an_upgrade_tells_its_progress_before_its_end,
    ):
        with subtests.test(part.__name__.strip("_").replace("_", " ")):
            await part(site)
