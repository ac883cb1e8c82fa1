"""Operations of a served instance: list, follow, cancel, retry."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from app.client import AsyncClient, Conflict, NotFound, Operation, OperationCancelled, OperationEvent, WaitTimeout
from app.settings import Settings
from tests.client.conftest import Connect, Service
from tests.client.support import Proxy
from tests.support.polling import waiting_for_locks

# What a worker takes in hand at a time, at the least.
_CONCURRENCY = Settings.model_fields["worker_concurrency"].default


@asynccontextmanager
async def _held(looking: asyncpg.Connection) -> AsyncIterator[None]:
    """No tenant gets further than its configuration."""
    async with looking.transaction():
        await looking.execute("LOCK TABLE bf_shared.tenant_config IN SHARE MODE")
        yield


async def _busy(client: AsyncClient, looking: asyncpg.Connection, prefix: str) -> list[Operation]:
    """As many tenants as the worker has hands, and none of them gets on."""
    taken = [await client.tenants.create(f"{prefix}_{n}", "Busy", wait=False) for n in range(_CONCURRENCY)]
    await waiting_for_locks(looking, _CONCURRENCY)
    return taken


async def test_operations_are_listed_newest_first(client: AsyncClient, unique: str) -> None:
    await client.tenants.create(unique, "ACME")
    (made,) = [operation async for operation in client.operations.list(tenant_id=unique)]
    assert (made.kind, made.status) == ("tenant.provision", "succeeded")
    assert made == (await client.operations.get(made)).model_copy(update={"etag": None})
    newest = await anext(aiter(client.operations.list(kind="tenant.provision", page_size=1).pages()))
    assert newest.items[0].id == made.id
    with pytest.raises(NotFound):
        await client.operations.get("00000000-0000-4000-8000-000000000000")


async def test_a_queued_operation_is_cancelled_and_done_again(
    client: AsyncClient, looking: asyncpg.Connection, unique: str
) -> None:
    async with _held(looking):
        taken = await _busy(client, looking, unique)
        queued = await client.tenants.create(unique, "Queued", wait=False)
        dry = await client.operations.cancel(queued, validate_only=True)
        assert dry.status == "cancelled"
        assert (await client.operations.get(queued)).status == "queued"
        assert (await client.operations.cancel(queued)).status == "cancelled"
        assert (await client.operations.cancel(queued)).status == "cancelled"
        with pytest.raises(OperationCancelled) as caught:
            await client.operations.wait(queued)
        assert caught.value.problem is not None
        assert caught.value.problem.code == "operation_cancelled"
        assert (await client.tenants.get(unique)).state == "failed"
        with pytest.raises(WaitTimeout) as late:
            await client.operations.wait(taken[0], seconds=0.1)
        assert late.value.operation.status == "running"
        again = await client.operations.retry(queued, wait=False)
        assert (again.status, again.retry_of) == ("queued", queued.id)
    assert (await client.operations.wait(again)).status == "succeeded"
    assert (await client.tenants.get(unique)).state == "active"
    for operation in taken:
        await client.operations.wait(operation)
    with pytest.raises(Conflict, match="operation_finished"):
        await client.operations.cancel(again)
    with pytest.raises(Conflict, match="operation_not_retryable"):
        await client.operations.retry(again)


async def test_an_operation_is_followed_over_a_lost_connection(
    connect: Connect, service: Service, line: Proxy, looking: asyncpg.Connection, unique: str
) -> None:
    client = connect(line.url, api_key=service.key)
    line.cut_after(b"event: running")
    seen: list[OperationEvent] = []
    async with _held(looking):
        accepted = await client.tenants.create(unique, "ACME", wait=False)
        events = aiter(client.operations.events(accepted))
        while not seen or seen[-1].event != "running":
            seen.append(await anext(events))
    seen += [event async for event in events]
    assert [event.event for event in seen] == ["queued", "running", "succeeded"]
    assert len({event.id for event in seen}) == 3
    assert not line.faults, "the connection was cut"
    assert seen[-1].operation.id == accepted.id
    rest = client.operations.events(accepted, after=seen[0].id)
    assert [event.id async for event in rest] == [event.id for event in seen[1:]]
    assert [event async for event in client.operations.events(accepted, after=seen[-1].id)] == []
