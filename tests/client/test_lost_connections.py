"""The line between client and service breaks at the worst moment; the service is a real one."""

import asyncpg
import pytest

from app.client import ConnectionFailed
from tests.client.conftest import Connect, Service
from tests.client.support import Proxy

_OPERATIONS = "SELECT count(*) FROM bf_control.operation WHERE tenant_id = $1"


@pytest.mark.parametrize("wait", [True, False])
async def test_a_post_whose_answer_is_lost_is_replayed(
    connect: Connect, service: Service, line: Proxy, looking: asyncpg.Connection, unique: str, wait: bool
) -> None:
    line.lose(b"HTTP/1.1 20")
    line.lose(b"HTTP/1.1 20")
    client = connect(line.url, api_key=service.key)
    made = await client.tenants.create(unique, "ACME", wait=wait)
    assert made.tenant_id == unique
    assert not line.faults, "both answers were lost"
    assert await looking.fetchval(_OPERATIONS, unique) == 1


async def test_an_answer_that_breaks_off_in_its_middle_is_asked_for_again(
    connect: Connect, service: Service, line: Proxy, unique: str
) -> None:
    client = connect(line.url, api_key=service.key)
    await client.tenants.create(unique, "ACME")
    line.lose(b'"tenant_name"')
    assert (await client.tenants.get(unique)).tenant_id == unique
    assert not line.faults


async def test_without_a_second_try_the_failure_says_how_to_go_on(
    connect: Connect, service: Service, line: Proxy, looking: asyncpg.Connection, unique: str
) -> None:
    line.lose(b"HTTP/1.1 20")
    client = connect(line.url, api_key=service.key, retry_for=0)
    with pytest.raises(ConnectionFailed) as caught:
        await client.tenants.create(unique, "ACME")
    assert caught.value.sent
    made = await client.tenants.create(unique, "ACME", idempotency_key=caught.value.idempotency_key)
    assert made.state == "active"
    assert await looking.fetchval(_OPERATIONS, unique) == 1
