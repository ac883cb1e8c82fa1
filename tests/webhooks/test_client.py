"""client.webhooks, against the application."""

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from app.apikeys.model import Role
from app.client import AsyncClient, NotFound
from tests.support.api import Api


async def test_a_webhook_s_life_by_the_client(idle_api: Api) -> None:
    key = await idle_api.key(Role.ADMIN)
    async with AsyncClient("http://test", api_key=key, transport=httpx.ASGITransport(idle_api.app)) as client:
        dry = await client.webhooks.create("https://hooks.example.com", validate_only=True)
        assert dry.secret is None
        made = await client.webhooks.create("https://hooks.example.com", description="Billing", idempotency_key="k1")
        assert made.secret is not None
        assert made.secret not in repr(made)
        again = await client.webhooks.create("https://hooks.example.com", description="Billing", idempotency_key="k1")
        assert (again.id, again.secret) == (made.id, None)
        read = await client.webhooks.get(made.id)
        assert (read.url, read.enabled, read.event_types) == ("https://hooks.example.com", True, ())
        assert [one.id for one in (await client.webhooks.list()).items] == [made.id]
        assert (await client.webhooks.rotate(made.id, overlap_seconds=0)).secret not in {None, made.secret}
        assert (await client.webhooks.enable(made.id)).enabled
        sent = await client.webhooks.test(made.id)
        listed = await client.webhooks.deliveries(made.id, status="pending")
        assert [(one.id, one.attempts, one.error) for one in listed.items] == [(sent.id, 0, None)]
        assert (await client.webhooks.replay(made.id, delivery_id=sent.id)).replayed == 1
        since = datetime.now(UTC) - timedelta(hours=1)
        assert (await client.webhooks.replay(made.id, since=since)).replayed == 0
        await client.webhooks.delete(made.id, if_match=read.etag)
        with pytest.raises(NotFound, match="webhook_not_found"):
            await client.webhooks.get(made.id)
