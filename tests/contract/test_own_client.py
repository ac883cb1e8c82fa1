"""Our own client does what a control plane does: provision, wait, follow, cancel, retry, page, on a served instance."""

import asyncio
from pathlib import Path

import pytest

from app.client import AsyncClient, Client, Conflict, NotFound, OperationCancelled
from tests.support.processes import environment, served


async def test_it_does_what_a_control_plane_does(dsn: str, tmp_path: Path) -> None:
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as serving:
        key = serving.client.headers["Authorization"].removeprefix("Bearer ")
        async with AsyncClient(str(serving.client.base_url), api_key=key) as client:
            acme = await client.tenants.create("acme_corp", "ACME Corporation", features_enabled=["ai_insights"])
            assert (acme.state, acme.schema_name) == ("active", "bf_acme_corp")
            started = await client.tenants.create("global_inc", "Global", wait=False)
            seen = [event.event async for event in client.operations.events(started)]
            assert (seen[0], seen[-1]) == ("queued", "succeeded")
            with pytest.raises(Conflict) as refused:
                await client.operations.cancel(started)
            assert refused.value.code == "operation_finished"
            listed = [tenant.tenant_id async for tenant in client.tenants.list(page_size=1)]
            assert listed == ["acme_corp", "global_inc"]
            assert [t.tenant_id async for t in client.tenants.list(feature="ai_insights")] == ["acme_corp"]
            changed = await client.tenants.update("acme_corp", tenant_name="ACME Worldwide", if_match=acme.etag)
            assert changed.tenant_name == "ACME Worldwide"
            with pytest.raises(NotFound):
                await client.tenants.get("nobody")


async def test_what_waits_is_cancelled_and_retried(dsn: str, tmp_path: Path) -> None:
    """By the sync flavour. Without a worker what is asked for stays queued; then there is one."""
    async with served(env=environment(dsn), directory=tmp_path) as serving:
        key = serving.client.headers["Authorization"].removeprefix("Bearer ")
        cancelled = await asyncio.to_thread(_cancelled, str(serving.client.base_url), key)
    async with served("--with-worker", env=environment(dsn), directory=tmp_path) as serving:
        await asyncio.to_thread(_retried, str(serving.client.base_url), key, cancelled)


def _cancelled(base_url: str, key: str) -> str:
    with Client(base_url, api_key=key) as client:
        started = client.tenants.create("acme_corp", "ACME", wait=False)
        assert client.operations.cancel(started).status == "cancelled"
        with pytest.raises(OperationCancelled):
            client.operations.wait(started)
        assert client.tenants.get("acme_corp").state == "failed"
        return str(started.id)


def _retried(base_url: str, key: str, cancelled: str) -> None:
    with Client(base_url, api_key=key) as client:
        again = client.operations.retry(cancelled, wait=30)
        assert (str(again.retry_of), again.status) == (cancelled, "succeeded")
        assert client.tenants.get("acme_corp", view="full").health.status == "pass"
