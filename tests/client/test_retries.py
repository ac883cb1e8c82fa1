"""What is tried again, when, and for how long: against a service that answers as it is told."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from app.client import (
    Conflict,
    ConnectionFailed,
    PreconditionFailed,
    TooManyRequests,
    Unavailable,
    WaitTimeout,
)
from tests.client.conftest import Connect
from tests.client.support import Scripted, answer, operation, refusal, scripted, tenant
from tests.support.processes import free_port


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_a_busy_service_is_asked_again_when_it_says(connect: Connect, script: Scripted, status: int) -> None:
    script.answer(refusal(status, Retry_After="1"), refusal(status), answer(tenant()))
    assert (await connect(script.url).tenants.get("acme_corp")).tenant_id == "acme_corp"
    first, second, third = script.seen
    assert second.at - first.at >= 1
    assert third.at - second.at < 5


async def test_a_time_of_day_is_understood_too(connect: Connect, script: Scripted) -> None:
    now = datetime.now(UTC)
    soon = (now + timedelta(seconds=3)).replace(microsecond=0)
    due = time.monotonic() + (soon - now).total_seconds()
    script.answer(refusal(503, Retry_After=format_datetime(soon, usegmt=True)), answer(tenant()))
    await connect(script.url).tenants.get("acme_corp")
    _, second = script.seen
    assert second.at >= due - 0.1


async def test_a_post_has_one_key_for_all_its_tries_and_another_the_next_time(
    connect: Connect, script: Scripted
) -> None:
    script.answer(
        refusal(503),
        refusal(409, "idempotency_key_in_flight"),
        answer(tenant(), 201),
        answer(tenant(), 201),
    )
    client = connect(script.url)
    await client.tenants.create("acme_corp", "ACME")
    await client.tenants.create("acme_corp", "ACME")
    keys = [seen.headers["idempotency-key"] for seen in script.seen]
    assert len(keys) == 4
    assert len(set(keys[:3])) == 1
    assert keys[3] != keys[0]
    assert all(len(key) == 32 for key in keys)
    assert len({seen.body for seen in script.seen}) == 1


async def test_other_conflicts_are_not_tried_again(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(409, "tenant_exists"))
    with pytest.raises(Conflict, match="tenant_exists") as caught:
        await connect(script.url).tenants.create("acme_corp", "ACME", idempotency_key="mine")
    assert len(script.seen) == 1
    assert caught.value.idempotency_key == script.seen[0].headers["idempotency-key"] == "mine"


async def test_a_change_that_could_undo_another_one_is_sent_once(connect: Connect, script: Scripted) -> None:
    """Without If-Match, a second PATCH may overwrite what somebody else wrote after the first."""
    script.answer(refusal(503, Retry_After="0"))
    with pytest.raises(Unavailable):
        await connect(script.url).tenants.update("acme_corp", tenant_name="B")
    assert len(script.seen) == 1


async def test_with_if_match_it_is_tried_again(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(503), answer(tenant(tenant_name="B"), ETag='"2"'))
    changed = await connect(script.url).tenants.update("acme_corp", tenant_name="B", if_match='"1"')
    assert (changed.tenant_name, changed.etag) == ("B", '"2"')
    assert [seen.headers["if-match"] for seen in script.seen] == ['"1"', '"1"']


async def test_a_mismatch_that_a_lost_try_of_ours_made_is_no_mismatch(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(504), refusal(412, "precondition_failed"), answer(tenant(billing_contact=None), ETag='"2"'))
    changed = await connect(script.url).tenants.update("acme_corp", billing_contact=None, if_match='"1"')
    assert changed.etag == '"2"'


async def test_a_mismatch_that_somebody_else_made_is_one(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(504), refusal(412, "precondition_failed"), answer(tenant(tenant_name="Theirs")))
    client = connect(script.url)
    with pytest.raises(PreconditionFailed):
        await client.tenants.update("acme_corp", tenant_name="Ours", if_match='"1"')
    script.answers.clear()
    script.seen.clear()
    script.answer(refusal(412, "precondition_failed"), answer(tenant(tenant_name="Theirs")))
    with pytest.raises(PreconditionFailed):
        await client.tenants.update("acme_corp", tenant_name="Theirs", if_match='"1"')
    assert len(script.seen) == 1, "what was tried once is not in doubt"


async def test_trying_ends_in_time_with_the_last_refusal(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(503))
    begun = time.monotonic()
    with pytest.raises(Unavailable) as caught:
        await connect(script.url, retry_for=1).tenants.get("acme_corp")
    assert time.monotonic() - begun < 10
    assert caught.value.tries == len(script.seen) > 1


async def test_nobody_waits_for_a_time_that_comes_too_late(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(429, "too_many_requests", Retry_After="60"))
    begun = time.monotonic()
    with pytest.raises(TooManyRequests) as caught:
        await connect(script.url, retry_for=30).tenants.get("acme_corp")
    assert time.monotonic() - begun < 20
    assert caught.value.retry_after == 60


async def test_a_service_that_is_not_there_yet_is_waited_for(connect: Connect) -> None:
    """Whatever is sent: nobody can have seen it."""
    port = free_port()
    client = connect(f"http://127.0.0.1:{port}")
    calling = asyncio.gather(client.tenants.get("acme_corp"), client.tenants.update("acme_corp", tenant_name="ACME"))
    await asyncio.sleep(0.3)
    async with scripted(port, answer(tenant())) as late:
        await calling
        assert sorted(seen.method for seen in late.seen) == ["GET", "PATCH"]


async def test_a_service_that_never_comes_is_an_error_that_says_so(connect: Connect) -> None:
    begun = time.monotonic()
    with pytest.raises(ConnectionFailed, match="ConnectError") as caught:
        await connect(f"http://127.0.0.1:{free_port()}", retry_for=0.5).tenants.create("acme_corp", "ACME")
    assert time.monotonic() - begun < 10
    assert not caught.value.sent
    assert caught.value.idempotency_key is not None


async def test_the_service_is_asked_to_wait_no_longer_than_is_left(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(503, Retry_After="1"), answer(tenant(), 201))
    await connect(script.url).tenants.create("acme_corp", "ACME", wait=3.9)
    first, second = (int(seen.headers["prefer"].removeprefix("wait=")) for seen in script.seen)
    assert second < first <= 3
    script.answer(answer(tenant(), 201))
    await connect(script.url).tenants.create("acme_corp", "ACME")
    assert script.seen[-1].headers["prefer"] == "wait=30"


async def test_an_operation_is_polled_as_often_as_the_service_asks(connect: Connect, script: Scripted) -> None:
    running = operation("running")
    script.answer(
        answer(running, 202, Retry_After="0"),
        answer(running, Retry_After="1"),
        answer({**running, "status": "succeeded"}),
        answer(tenant()),
    )
    assert (await connect(script.url).tenants.create("acme_corp", "ACME")).state == "active"
    assert [(seen.method, seen.path) for seen in script.seen] == [
        ("POST", "/v1/tenants"),
        ("GET", f"/v1/operations/{running['id']}"),
        ("GET", f"/v1/operations/{running['id']}"),
        ("GET", "/v1/tenants/acme_corp"),
    ]
    assert script.seen[2].at - script.seen[1].at >= 1


@pytest.mark.parametrize("then", [answer(operation("running"), Retry_After="1"), refusal(503)])
async def test_a_wait_ends_with_the_operation_as_it_was(connect: Connect, script: Scripted, then: object) -> None:
    """Even where the service is away at that moment."""
    script.answer(answer(operation("running"), 202, Retry_After="0"), then)
    begun = time.monotonic()
    with pytest.raises(WaitTimeout, match="running") as caught:
        await connect(script.url).tenants.create("acme_corp", "ACME", wait=1.2)
    assert time.monotonic() - begun < 10
    assert len(script.seen) > 1, "it was asked again before the wait was given up"
    assert caught.value.operation.status == "running"
    assert isinstance(caught.value, TimeoutError)
