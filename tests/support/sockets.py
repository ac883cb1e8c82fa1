"""HTTP/1.1 by hand, for clients that do not behave: they stop in the middle, trickle, or go away."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, and that the server closed the connection after it."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def heard(self, *, within: float) -> Heard:
        """Reads until the server closes. Raises TimeoutError where it does not."""
        async with asyncio.timeout(within):
            raw = await self.reader.read()
        head, _, body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        named = (line.split(": ", 1) for line in lines)
        return Heard(int(first.split()[1]), {name.lower(): value for name, value in named}, body)


@asynccontextmanager
async def wire(client: httpx.AsyncClient) -> AsyncIterator[Wire]:
    """A connection to the client's server, closed when the block ends."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()


def head(client: httpx.AsyncClient, method: str, path: str, **headers: str) -> bytes:
    """A request up to its body, with the client's key."""
    named = {
        "Host": "test",
        "Authorization": client.headers["authorization"],
        "Content-Type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
