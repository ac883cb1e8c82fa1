"""Huge and slow senders against a real process: they are refused, its memory stays, and nobody else notices."""

import asyncio
import os
import time
from pathlib import Path

import httpx
import pytest

from tests.support.processes import Served, environment, served
from tests.support.sockets import Heard, Wire, chunk, head, wire

_FULL = os.environ.get("BF_TEST_FULL") == "1"
_HUGE = 2**30 if _FULL else 2**26
_PIECE = b"x" * 65_536
_TIMEOUT = 3


def _resident(service: Served) -> int:
    """In bytes."""
    lines = Path(f"/proc/{service.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


async def _flood(connection: Wire, piece: bytes, total: int) -> int:
    """Sends until it is cut off, or all is sent; returns how much was."""
    sent = 0
    try:
        while sent < total:
            async with asyncio.timeout(_TIMEOUT + 10):
                await connection.send(piece)
            sent += len(piece)
    except (ConnectionError, TimeoutError):
        pass
    return sent


async def _refused(service: Served, start: bytes, piece: bytes, total: int) -> tuple[Heard | None, int]:
    """What is heard while more is sent than anybody would read. A reset may have taken the answer along."""
    async with wire(service.client) as connection:
        await connection.send(start)
        flooding = asyncio.create_task(_flood(connection, piece, total))
        try:
            heard = await connection.heard(within=_TIMEOUT + 20)
        except (ConnectionError, IndexError):
            heard = None
        return heard, await flooding


async def _bodies(service: Served) -> None:
    for method, path in (("POST", "/v1/tenants"), ("PATCH", "/v1/tenants"), ("PUT", "/v1/tenants/acme")):
        for framing, piece in (
            ({"Content_Length": str(_HUGE)}, _PIECE),
            ({"Transfer_Encoding": "chunked"}, chunk(_PIECE)),
        ):
            heard, _ = await _refused(service, head(service.client, method, path, **framing), piece, _HUGE)
            assert heard is not None, (method, framing)
            assert (heard.status, heard.json()["code"]) == (413, "body_too_large")


async def _bodies_that_nobody_reads(service: Served) -> None:
    """Where a route has none, or there is no route, or no role for it: the answer does not wait for the body."""
    for method, path in (("GET", "/v1/tenants"), ("POST", "/nowhere"), ("POST", "/livez")):
        start = head(service.client, method, path, Transfer_Encoding="chunked", Connection="close")
        _, sent = await _refused(service, start, chunk(_PIECE), _HUGE // 4)
        assert sent <= _HUGE // 4 + 2 * len(chunk(_PIECE))


async def _heads(service: Served) -> None:
    line = head(service.client, "GET", "/v1/tenants")[:-2]
    for start, piece in (
        (line + b"X-Endless: ", _PIECE),
        (line, b"X-More: 1\r\n" * 1000),
        (b"GET /", _PIECE),
        (head(service.client, "POST", "/v1/tenants", Transfer_Encoding="chunked") + b"0\r\nX-Trailer: ", _PIECE),
        (head(service.client, "POST", "/v1/tenants", Transfer_Encoding="chunked") + b"1;", _PIECE),
    ):
        heard, sent = await _refused(service, start, piece, _HUGE)
        assert sent < 16 * 2**20, "it was cut off"
        if heard is not None:
            assert heard.status in {400, 431}, heard
            assert heard.headers["content-type"] == "application/problem+json"


async def _slow_heads(service: Served) -> None:
    async def slowly(parts: list[bytes]) -> tuple[bytes, float]:
        begun = time.monotonic()
        async with wire(service.client) as connection:
            for part in parts:
                await connection.send(part)
                await asyncio.sleep(0.2)
            async with asyncio.timeout(_TIMEOUT + 15):
                return await connection.reader.read(), time.monotonic() - begun

    half = head(service.client, "GET", "/v1/tenants")[:40]
    for heard, seconds in await asyncio.gather(slowly([]), slowly([half]), slowly([bytes([b]) for b in half[:8]])):
        assert seconds > _TIMEOUT - 1
        assert not heard or heard.startswith(b"HTTP/1.1 408 ")


async def _watched(client: httpx.AsyncClient, done: asyncio.Event) -> float:
    """The longest that anybody else has waited meanwhile."""
    worst = 0.0
    while not done.is_set():
        begun = time.monotonic()
        answer = await client.get("/v1/catalog/tiers")
        assert answer.status_code == 200
        worst = max(worst, time.monotonic() - begun)
        await asyncio.sleep(0.05)
    return worst


async def test_huge_and_slow_senders_harm_nobody(dsn: str, tmp_path: Path, subtests: pytest.Subtests) -> None:
    env = environment(dsn, BF_REQUEST_TIMEOUT=str(_TIMEOUT))
    async with served(env=env, directory=tmp_path) as service:
        await _bodies_that_nobody_reads(service)  # the first of everything takes some memory too
        before, done = _resident(service), asyncio.Event()
        watching = asyncio.create_task(_watched(service.client, done))
        for step in (_bodies, _bodies_that_nobody_reads, _heads, _slow_heads):
            with subtests.test(step.__name__.strip("_").replace("_", " ")):
                await step(service)
                grown = _resident(service) - before
                print(step.__name__, "memory grew by", grown)  # noqa: T201
                assert grown < 20 * 10**6
        done.set()
        print("longest wait of another caller", await watching)  # noqa: T201
        assert (await service.client.get("/livez")).status_code == 200
    told = (tmp_path / next(tmp_path.glob("serve-*.log")).name).read_text()
    assert '"level": "error"' not in told
    assert "Traceback" not in told
