"""Server-sent events as a client reads them."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Event:
    id: int
    name: str
    data: dict[str, Any]


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, location: str, *, after: int | None = None
) -> AsyncIterator[AsyncIterator[Event]]:
    """The events of the operation at `location`, as they come; beyond number `after`."""
    headers = {} if after is None else {"Last-Event-ID": str(after)}
    async with client.stream("GET", f"{location}/events", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].partition(";")[0] == "text/event-stream"
        yield _parsed(response.aiter_lines())


async def all_of(client: httpx.AsyncClient, location: str, *, after: int | None = None) -> list[Event]:
    """Until the stream ends by itself."""
    async with following(client, location, after=after) as events:
        return [event async for event in events]


async def _parsed(lines: AsyncIterator[str]) -> AsyncIterator[Event]:
    fields: dict[str, str] = {}
    async for line in lines:
        if line == "" and fields:
            yield Event(int(fields["id"]), fields["event"], json.loads(fields["data"]))
            fields = {}
        elif line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            assert name not in fields, line
            fields[name] = value
