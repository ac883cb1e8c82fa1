"""Following an operation: what arrives, and what happens when the stream does not last."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from starlette.responses import Response, StreamingResponse

from app.client import ConnectionFailed, NotFound, OperationEvent, UnexpectedAnswer
from tests.client.conftest import Connect
from tests.client.support import Scripted, operation, refusal

_ID = "0b8f5f3e-8f6a-4a52-9d0c-6a3a0c8c7a11"


def _event(number: int, status: str, **others: Any) -> bytes:
    data = json.dumps(operation(status, id=_ID, **others))
    return f"event: {status}\ndata: {data}\nid: {number}\n\n".encode()


def _stream(*chunks: bytes, breaks: bool = False) -> Response:
    async def content() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        if breaks:
            raise ConnectionAbortedError("as asked by the test")

    return StreamingResponse(content(), media_type="text/event-stream")


async def _all(connect: Connect, script: Scripted, **arguments: Any) -> list[OperationEvent]:
    return [event async for event in connect(script.url, **arguments).operations.events(_ID)]


def _told(events: list[OperationEvent]) -> list[tuple[str, str, str]]:
    return [(event.id, event.event, event.operation.status) for event in events]


async def test_events_arrive_one_by_one_to_the_last(connect: Connect, script: Scripted) -> None:
    """However the bytes are cut, and with comments between them."""
    text = _event(1, "queued") + b": ping\n\n" + _event(2, "running", attempts=2) + _event(3, "succeeded")
    script.answer(_stream(*(text[at : at + 7] for at in range(0, len(text), 7))))
    events = await _all(connect, script)
    assert _told(events) == [("1", "queued", "queued"), ("2", "running", "running"), ("3", "succeeded", "succeeded")]
    assert events[1].operation.attempts == 2
    (seen,) = script.seen
    assert seen.path == f"/v1/operations/{_ID}/events"
    assert seen.headers["accept"] == "text/event-stream"
    assert "last-event-id" not in seen.headers


@pytest.mark.parametrize("breaks", [True, False])
async def test_a_lost_stream_is_resumed_where_it_broke(connect: Connect, script: Scripted, breaks: bool) -> None:
    """An event that arrived in part is not one; a service that stops ends its streams in good order."""
    script.answer(
        _stream(_event(1, "queued"), _event(2, "running")[:-1], breaks=breaks),
        refusal(503, Retry_After="0"),
        _stream(_event(2, "running"), _event(3, "failed")),
    )
    assert [event.id for event in await _all(connect, script)] == ["1", "2", "3"]
    assert [seen.headers.get("last-event-id") for seen in script.seen] == [None, "1", "1"]


async def test_a_follower_goes_on_after_the_event_it_knows(connect: Connect, script: Scripted) -> None:
    script.answer(Response(status_code=204))
    events = connect(script.url).operations.events(_ID, after="3")
    assert [event async for event in events] == []
    assert script.seen[0].headers["last-event-id"] == "3"


async def test_a_stream_that_is_lost_again_and_again_is_given_up(connect: Connect, script: Scripted) -> None:
    script.answers.extend(_stream(b": ping\n\n") for _ in range(50))
    with pytest.raises(ConnectionFailed, match="ended before the operation"):
        await asyncio.wait_for(_all(connect, script, retry_for=0.5), 3)
    assert len(script.seen) > 1


async def test_progress_gives_it_new_time(connect: Connect, script: Scripted) -> None:
    """Each loss is mended in time; all of them together take longer than one may."""
    script.answers.extend(_stream(_event(number, "running")) for number in range(1, 9))
    script.answer(_stream(_event(9, "succeeded")))
    assert len(await _all(connect, script, retry_for=0.25)) == 9


async def test_refusals_are_raised(connect: Connect, script: Scripted) -> None:
    script.answer(refusal(404, "operation_not_found"))
    with pytest.raises(NotFound, match="operation_not_found"):
        await _all(connect, script)
    script.answers.clear()
    script.answer(_stream(b"id: 1\nevent: running\ndata: {}\n\n"))
    with pytest.raises(UnexpectedAnswer, match=r"Event 1 \(running\) holds no Operation"):
        await _all(connect, script)
    assert len(script.seen) == 2


async def test_who_stops_following_lets_go_of_the_connection(connect: Connect, script: Scripted) -> None:
    gone = asyncio.Event()

    async def content() -> AsyncIterator[bytes]:
        yield _event(1, "queued")
        try:
            await asyncio.sleep(30)
        finally:
            gone.set()

    script.answer(StreamingResponse(content(), media_type="text/event-stream"))
    async with aclosing(connect(script.url).operations.events(_ID)) as events:
        async for event in events:
            assert event.id == "1"
            break
    await asyncio.wait_for(gone.wait(), 5)
