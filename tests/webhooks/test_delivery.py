"""What a real receiver gets: signed, at least once, under one id, and in time whatever the others do."""

import asyncio
import time
from typing import Any

import asyncpg
import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.allow import Allow
from app.db.pool import Database
from app.integrations.endpoint import Policy
from app.integrations.pinned import Pinned
from app.settings import Settings
from app.webhooks.dispatcher import OF_EACH, Dispatcher
from app.webhooks.sending import Sender, pause_after
from tests.integrations.support import put
from tests.support.api import Api
from tests.support.data import make_tenant
from tests.support.polling import until
from tests.webhooks.support import PREFIX, Answer, Receiver, make, receiving

_STATES = "SELECT d.status, d.attempts, d.response_status FROM bf_control.webhook_delivery d ORDER BY d.event_seq"


def _soon(_: int, retry_after: float | None) -> float:
    return max(0.05, retry_after or 0.0)


async def _states(conn: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await conn.fetch(_STATES)]


async def _become(conn: asyncpg.Connection, *states: tuple[Any, ...]) -> None:
    async def look() -> bool:
        return await _states(conn) == list(states)

    try:
        await until(look, within=15)
    except TimeoutError:
        assert await _states(conn) == list(states)


class Telling:
    """A dispatcher in this process that need not be waited for."""

    def __init__(self, settings: Settings, database: Database, *, lease: float = 2.0, seconds: float = 1.0) -> None:
        pinned = Pinned(Policy(Allow.parse(settings.integration_allow)), threads=4)
        self.stopping = asyncio.Event()
        self.dispatcher = Dispatcher(
            database,
            settings.direct_dsn(),
            Sender(pinned, source="urn:test", seconds=seconds),
            settings.keyring(),
            retention=settings.event_retention,
            lease=lease,
            pause=_soon,
        )

    async def __aenter__(self) -> "Telling":
        self.task = asyncio.create_task(self.dispatcher.run(self.stopping))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopping.set()
        await asyncio.wait_for(self.task, 15)


@pytest.fixture
async def tenant(conn: asyncpg.Connection) -> None:
    await make_tenant(conn)


async def test_a_provisioned_tenant_is_told_by_the_worker_and_verified_by_the_library(
    api: Api, receiver: Receiver
) -> None:
    made = await make(api, receiver)
    assert (await api.provision()).status_code == 201
    messages = await receiver.received(3)
    assert sorted(receiver.types) == ["operation.succeeded", "tenant.activated", "tenant.created"]
    first = messages[0]
    assert first.event is not None
    assert first.type == "tenant.created", "of one tenant they come in order"
    assert first.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert first.headers["webhook-id"] == first.event["id"]
    assert (first.event["specversion"], first.event["source"]) == ("1.0", "urn:apg:bf-tenant-admin")
    assert first.event["subject"] == "tenant/acme_corp"
    assert first.event["data"]["state"] == "provisioning"
    with pytest.raises(WebhookVerificationError):
        Webhook(made["secret"]).verify(first.body + b" ", first.headers)


@pytest.mark.usefixtures("tenant")
async def test_types_and_tenant_are_what_it_asked_for(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    await make_tenant(conn, "globex")
    await make(idle_api, receiver, tenant_id="acme_corp", event_types=[f"{PREFIX}tenant.suspended"])
    for tenant_id in ("globex", "acme_corp"):
        await conn.execute("SELECT bf_shared.suspend_tenant($1)", tenant_id)
        await conn.execute("SELECT bf_shared.resume_tenant($1)", tenant_id)
    async with Telling(settings, database):
        await _become(conn, ("delivered", 1, 204))
    assert [message.event["subject"] for message in receiver.messages if message.event] == ["tenant/acme_corp"]


@pytest.mark.usefixtures("tenant")
async def test_what_fails_is_sent_again_under_the_same_id_until_it_is_taken(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    await make(idle_api, receiver)
    receiver.answers[:] = [
        Answer(500, body=b"no\0pe" + b"x" * 5000), Answer(302, {"location": "/elsewhere"}), Answer(after=5), Answer(),
    ]  # fmt: skip
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    async with Telling(settings, database):
        await receiver.received(1)

        async def refused() -> Any:
            return await conn.fetchrow(
                "SELECT response_body, error ->> 'code' AS code FROM bf_control.webhook_delivery"
                " WHERE error IS NOT NULL"
            )

        seen = await until(refused)
        assert (seen["code"], len(seen["response_body"])) == ("refused", 1024)
        assert seen["response_body"].startswith("no�pe")
        await _become(conn, ("delivered", 4, 204))
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1
    assert len(receiver.messages) == 4, "the redirect was not followed"
    assert all(message.event for message in receiver.messages)
    assert await conn.fetchval("SELECT failing_since FROM bf_control.webhook") is None


@pytest.mark.usefixtures("tenant")
async def test_retry_after_is_honoured(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    await make(idle_api, receiver)
    receiver.answers[:] = [Answer(503, {"retry-after": "2"}), Answer()]
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    async with Telling(settings, database):
        await receiver.received(1)
        begun = time.monotonic()
        await receiver.received(2)
        assert time.monotonic() - begun > 1.5


def test_the_pauses_grow_to_three_days() -> None:
    pauses = [pause_after(attempts, None) for attempts in range(1, 20)]
    assert 4 <= pauses[0] <= 6
    assert all(pause <= 1.2 * 6 * 3600 for pause in pauses)
    assert sum(pauses) > 2 * 86400
    assert pause_after(1, 3600.0) == 3600.0
    assert len({pause_after(3, None) for _ in range(10)}) > 1


@pytest.mark.usefixtures("tenant")
async def test_410_ends_it_and_enabling_it_begins_again(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    made = await make(idle_api, receiver)
    receiver.answers[:] = [Answer(410), Answer()]
    path = f"/v1/webhooks/{made['id']}"
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    async with Telling(settings, database):
        await _become(conn, ("dead", 1, 410))
        await conn.execute("SELECT bf_shared.resume_tenant('acme_corp')")
        read = (await idle_api.client.get(path)).json()
        assert (read["enabled"], read["disabled_reason"]) == (False, "gone")
        audited = "SELECT count(*) FROM bf_control.audit WHERE action = 'webhook.disable' AND target = $1"
        assert await conn.fetchval(audited, f"webhook/{made['id']}") == 1
        assert len(await _states(conn)) == 1, "what happens meanwhile is not for it"
        enabled = await idle_api.client.post(f"{path}/enable")
        assert (enabled.status_code, enabled.json()["enabled"]) == (200, True)
        replayed = await idle_api.client.post(f"{path}/replay", json={"since": "2020-01-01T00:00:00Z"})
        assert replayed.json() == {"replayed": 4, "next_since": None}
        await _become(conn, *[("delivered", 1, 204)] * 4)
    assert receiver.types[1:] == ["tenant.created", "tenant.activated", "tenant.suspended", "tenant.resumed"]


@pytest.mark.usefixtures("tenant")
async def test_what_nobody_takes_is_given_up_and_can_be_replayed(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    made = await make(idle_api, receiver)
    receiver.answers[:] = [Answer(400)]
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    await conn.execute("UPDATE bf_control.webhook_delivery SET queued_at = now() - interval '3 days'")
    async with Telling(settings, database):
        await _become(conn, ("dead", 1, 400))
        path = f"/v1/webhooks/{made['id']}"
        dead = (await idle_api.client.get(f"{path}/deliveries", params={"status": "dead"})).json()["items"]
        assert [(one["error"]["code"], one["next_attempt_at"]) for one in dead] == [("refused", None)]
        receiver.answers[:] = [Answer()]
        again = await idle_api.client.post(f"{path}/replay", json={"delivery_id": dead[0]["id"]})
        assert again.json() == {"replayed": 1, "next_since": None}
        await _become(conn, ("delivered", 1, 204))
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 1


@pytest.mark.usefixtures("tenant")
async def test_whoever_dies_between_delivering_and_recording_is_followed_by_another(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    await make(idle_api, receiver)
    receiver.answers[:] = [Answer(after=0.5), Answer()]
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    dying = Telling(settings, database, lease=1.0, seconds=5)
    await dying.__aenter__()
    await receiver.received(1)
    dying.task.cancel()
    await asyncio.gather(dying.task, return_exceptions=True)
    assert await _states(conn) == [("pending", 1, None)]
    async with Telling(settings, database):
        await _become(conn, ("delivered", 2, 204))
    first, second = receiver.messages
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


@pytest.mark.usefixtures("tenant")
async def test_whoever_was_given_up_writes_nothing(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    """The first is still at it when its lease is over: the second has delivered, and its word holds."""
    await make(idle_api, receiver)
    receiver.answers[:] = [Answer(500, after=2), Answer()]
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    async with Telling(settings, database, lease=0.5, seconds=5), Telling(settings, database, lease=0.5, seconds=5):
        await _become(conn, ("delivered", 2, 204))
        await asyncio.sleep(2)
        assert await _states(conn) == [("delivered", 2, 204)]


async def test_a_slow_receiver_is_in_nobody_else_s_way(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    async with receiving(Answer(after=3)) as slow:
        await make(idle_api, slow)
        await make(idle_api, receiver)
        for number in range(12):
            await make_tenant(conn, f"tenant_{number}")
        begun = time.monotonic()
        async with Telling(settings, database, lease=20, seconds=10), Telling(settings, database, lease=20, seconds=10):
            await receiver.received(24)
            assert slow.answered < 12
            assert time.monotonic() - begun < 10
            assert slow.most_at_once <= OF_EACH
            assert receiver.most_at_once <= OF_EACH
            await conn.execute("DELETE FROM bf_control.webhook_delivery WHERE status = 'pending'")
    assert len({message.headers["webhook-id"] for message in receiver.messages}) == 24
    for number in range(12):
        own = [m.type for m in receiver.messages if m.event and m.event["subject"] == f"tenant/tenant_{number}"]
        assert own == ["tenant.created", "tenant.activated"]


@pytest.mark.usefixtures("tenant")
async def test_two_secrets_sign_while_one_takes_the_other_s_place(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    made = await make(idle_api, receiver)
    path = f"/v1/webhooks/{made['id']}"
    rotated = await idle_api.client.post(f"{path}/rotate")
    assert rotated.status_code == 200
    assert rotated.headers["cache-control"] == "no-store"
    second = rotated.json()["secret"]
    assert second != made["secret"]
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    async with Telling(settings, database):
        (message,) = await receiver.received(1)
        for secret in (made["secret"], second):
            assert Webhook(secret).verify(message.body, message.headers)
        third = (await idle_api.client.post(f"{path}/rotate", json={"overlap_seconds": 0})).json()["secret"]
        await conn.execute("SELECT bf_shared.resume_tenant('acme_corp')")
        message = (await receiver.received(2))[1]
        assert Webhook(third).verify(message.body, message.headers)
        for secret in (made["secret"], second):
            with pytest.raises(WebhookVerificationError):
                Webhook(secret).verify(message.body, message.headers)


@pytest.mark.parametrize("capability", ["notification_engine", "audit_compliance"])
async def test_an_integration_is_told_of_its_own_tenant_signed_with_its_own_secret(
    idle_api: Api,
    receiver: Receiver,
    conn: asyncpg.Connection,
    settings: Settings,
    database: Database,
    capability: str,
) -> None:
    for tenant_id in ("acme_corp", "globex"):
        await make_tenant(conn, tenant_id)
    secret = "whsec_" + "c2VjcmV0" * 4
    receiver.secrets.append(secret)
    document = {"enabled": True, "endpoint": receiver.url}
    assert (await put(idle_api, capability, document)).status_code == 201
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    assert await _states(conn) == [], "nobody believes what is not signed"
    answer = await put(idle_api, capability, {**document, "credentials": {"signing_secret": secret}})
    assert answer.status_code == 200
    for tenant_id in ("globex", "acme_corp"):
        await conn.execute(
            "UPDATE bf_shared.tenant_config SET default_currency = 'EUR' WHERE tenant_id = $1", tenant_id
        )
    await conn.execute(
        "INSERT INTO bf_control.usage_event (tenant_id, limit_name, percentage, used, allowed)"
        " VALUES ('acme_corp', 'max_budgets', 80, 4, 5)"
    )
    both = capability == "notification_engine"
    async with Telling(settings, database):
        await _become(conn, *[("delivered", 1, 204)] * (2 if both else 1))
    assert receiver.types == ["tenant.config.changed"] + (["tenant.limit.reached"] if both else [])
    assert all(message.event and message.event["subject"] == "tenant/acme_corp" for message in receiver.messages)
    (webhook,) = (await idle_api.client.get("/v1/webhooks", params={"tenant_id": "acme_corp"})).json()["items"]
    assert webhook["capability"] == capability
    assert (await idle_api.client.delete(f"/v1/webhooks/{webhook['id']}")).json()["code"] == "webhook_of_integration"


async def test_a_tenant_that_is_made_with_integrations_is_told_of_its_making(
    api: Api, receiver: Receiver, conn: asyncpg.Connection
) -> None:
    secret = "whsec_" + "c2VjcmV0" * 4
    receiver.secrets.append(secret)
    engine = {"endpoint": receiver.url, "credentials": {"signing_secret": secret}}
    assert (await api.provision(integrations={"notification_engine": engine})).status_code == 201
    messages = await receiver.received(2)
    assert sorted(message.type for message in messages) == ["operation.succeeded", "tenant.activated"]
    assert all(message.event for message in messages)


@pytest.mark.usefixtures("tenant")
async def test_a_secret_that_signs_nothing_is_said_so(
    idle_api: Api, receiver: Receiver, conn: asyncpg.Connection, settings: Settings, database: Database
) -> None:
    document = {"endpoint": receiver.url, "credentials": {"signing_secret": "hunter2"}}
    assert (await put(idle_api, "notification_engine", document)).status_code == 201
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    async with Telling(settings, database):

        async def failed() -> Any:
            return await conn.fetchval("SELECT error ->> 'detail' FROM bf_control.webhook_delivery")

        detail = await until(failed)
    assert "whsec_ and then 24 to 64 bytes" in detail
    assert "hunter2" not in detail
    assert receiver.messages == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/", "https://127.0.0.1:{port}/", "http://[::ffff:127.0.0.1]:{port}/", "http://2130706433:{port}/",
        "http://0x7f.1:{port}/", "http://localhost:{port}/", "https://localhost:{port}/", "http://169.254.169.254/", "file:///etc/passwd",
    ],
)  # fmt: skip
async def test_no_packet_goes_where_nobody_may_be_told_anything(
    idle_api: Api, conn: asyncpg.Connection, settings: Settings, database: Database, url: str, receiver: Receiver
) -> None:
    """Refused by the API, and, where SQL has written it, by whoever would deliver it."""
    await make_tenant(conn)
    url = url.format(port=receiver.port)
    strict = settings.model_copy(update={"integration_allow": ""})
    made = await make(idle_api, receiver)
    await conn.execute("UPDATE bf_control.webhook SET url = $1", url)
    await conn.execute("SELECT bf_shared.suspend_tenant('acme_corp')")
    async with Telling(strict, database):

        async def refused() -> Any:
            return await conn.fetchval("SELECT error ->> 'code' FROM bf_control.webhook_delivery")

        assert await until(refused) in {"endpoint_not_allowed", "address_not_allowed", "endpoint_invalid"}
    assert receiver.messages == []
    assert (await idle_api.client.get(f"/v1/webhooks/{made['id']}")).json()["failing_since"]
