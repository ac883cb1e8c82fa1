"""The line between client and service breaks at the worst moment; the service is a real one."""

import asyncio
import secrets
import signal
from pathlib import Path

import asyncpg
import httpx
import pytest

from app.client import ConnectionFailed
from tests.client.conftest import Connect, Service
from tests.client.support import Proxy
from tests.support.cluster import Cluster
from tests.support.polling import until
from tests.support.processes import answers, environment, free_port, logged

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


async def test_a_put_whose_answer_is_lost_is_sent_again(
    connect: Connect, service: Service, line: Proxy, looking: asyncpg.Connection, unique: str
) -> None:
    line.lose(b"HTTP/1.1 20")
    made = await connect(line.url, api_key=service.key).tenants.put(unique, "ACME")
    assert made.state == "active"
    assert not line.faults
    assert await looking.fetchval(_OPERATIONS, unique) == 1


async def test_a_guarded_change_whose_answer_is_lost_is_known_again(
    connect: Connect, service: Service, line: Proxy, unique: str
) -> None:
    """The second try meets the etag that the first one made."""
    client = connect(line.url, api_key=service.key)
    made = await client.tenants.create(unique, "ACME")
    line.lose(b"HTTP/1.1 200")
    changed = await client.tenants.update(unique, billing_contact="b@example.com", if_match=made.etag)
    assert changed.billing_contact == "b@example.com"
    assert changed.etag != made.etag
    assert not line.faults


async def test_an_unguarded_change_whose_answer_is_lost_is_left_to_the_caller(
    connect: Connect, service: Service, line: Proxy, unique: str
) -> None:
    client = connect(line.url, api_key=service.key)
    await client.tenants.create(unique, "ACME")
    line.lose(b"HTTP/1.1 200")
    with pytest.raises(ConnectionFailed) as caught:
        await client.tenants.update(unique, tenant_name="B")
    assert caught.value.sent


async def test_a_wait_outlives_a_restart_of_the_service(
    connect: Connect, cluster: Cluster, template: str, tmp_path: Path
) -> None:
    """The process that was asked has no worker; the one that takes its place does the work."""
    dsn = await cluster.create_database(f"restart_{secrets.token_hex(6)}", template=template)
    port, key_file = free_port(), tmp_path / "admin-key"
    serve, url = ("serve", "--port", str(port)), f"http://127.0.0.1:{port}"
    env = environment(dsn, BF_BOOTSTRAP_ADMIN_KEY_FILE=str(key_file))
    conn = await asyncpg.connect(dsn)
    async with logged(*serve, env=env, log=tmp_path / "first.log") as first:
        async with httpx.AsyncClient(base_url=url) as probe:
            await answers(probe, "/readyz", process=first)
        client = connect(url, api_key=key_file.read_text())
        creating = asyncio.ensure_future(client.tenants.create("patient", "Patient"))
        await until(lambda: conn.fetchval(_OPERATIONS, "patient"), what="the operation")
        first.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(first.wait(), 25) == 0
        assert not creating.done()
    async with logged(*serve, "--with-worker", env=env, log=tmp_path / "second.log"):
        made = await creating
    assert (made.tenant_id, made.state) == ("patient", "active")
    assert await conn.fetchval(_OPERATIONS, "patient") == 1
    await conn.close()
    await cluster.drop_database(dsn.rpartition("/")[2])


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
