"""OFREP's bulk answer to who has it already, against a bare route behind the same middleware and authentication.

A process of its own serves the application with one route more, which reads its body and answers 304, and nothing
else. The same connections ask the two in turn, block by block, with a reader's key; which of the two begins changes
from block to block. Counted are answers, per second and
per second of the service's CPU. Both ask the database for the key; nothing else.

    python -m bench ofrep                     # half a minute
    python -m bench ofrep --bin-dir /usr/lib/postgresql/15/bin --json
"""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import uvloop
from fastapi import FastAPI, Request, Response

from app import log
from app.apikeys.model import Role
from app.apikeys.service import Keys
from app.db.pool import Database
from app.http.auth import CurrentReader
from app.main import create_app
from app.server import Server
from app.settings import Settings
from bench import proc, support

_BULK: Final = "/ofrep/v1/evaluate/flags"
_BARE: Final = "/bare"
_SETUP: Final = "SELECT bf_shared.setup_tenant('acme_corp', 'ACME', 'bench')"
_BODY: Final = json.dumps({"context": {"targetingKey": "acme_corp"}})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    seconds: float
    blocks: int
    clients: int
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one block (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=10, help="so many each way (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=4, help="requests at once (default: %(default)s)")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(seconds=0.2, blocks=2)
    return Options(**named), as_json


# the service -----------------------------------------------------------------------------------------


def _with_bare_route(app: FastAPI) -> FastAPI:
    @app.post(_BARE)
    async def bare(request: Request, _: CurrentReader) -> Response:
        await request.body()
        return Response(status_code=304)

    return app


def _serve(dsn: str, port: int) -> None:
    """The process of the service."""
    log.configure("WARNING", log_format="json")
    app = _with_bare_route(create_app(Settings.model_validate({"DATABASE_URL": dsn, "log_level": "WARNING"})))
    server = Server(app, host="127.0.0.1", port=port, drain=1, head_seconds=10, started=lambda: None)
    uvloop.run(server.run_until_signal())


@contextmanager
def _serving(dsn: str) -> Iterator[tuple[int, int]]:
    """Its port and its id."""
    port = support.free_port()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(dsn, port))
    process.start()
    try:
        assert process.pid is not None
        yield port, process.pid
    finally:
        process.terminate()
        process.join()


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


# the measurement -------------------------------------------------------------------------------------


async def _prepare(dsn: str, port: int) -> dict[str, bytes]:
    """A tenant, a reader's key, and the request of each way."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await support.until(lambda: _ready(client))
        async with Database(dsn, max_size=1) as database, database.transaction() as conn:
            await conn.execute(_SETUP)
            new = await Keys("").create(conn, name="bench", role=Role.READER, created_by="bench")
        headers = {"Authorization": f"Bearer {new.key}", "Content-Type": "application/json"}
        answer = await client.post(_BULK, content=_BODY, headers=headers)
    headers |= {"Host": "bench", "If-None-Match": answer.headers["ETag"], "Content-Length": str(len(_BODY))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return {path: f"POST {path} HTTP/1.1\r\n{lines}\r\n{_BODY}".encode() for path in (_BARE, _BULK)}


async def _block(port: int, pid: int, request: bytes, options: Options) -> tuple[float, float]:
    """Answers per second, and answers per CPU second of the service. To ask costs next to nothing."""
    end = time.perf_counter() + options.seconds

    async def ask() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answered = 0
        while time.perf_counter() < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 304 "), head
            answered += 1
        writer.close()
        return answered

    begun, spent = time.perf_counter(), proc.cpu_seconds(pid)
    answered = sum(await asyncio.gather(*(ask() for _ in range(options.clients))))
    return answered / (time.perf_counter() - begun), answered / (proc.cpu_seconds(pid) - spent)


async def _measure(dsn: str, port: int, pid: int, options: Options) -> dict[str, Any]:
    requests = await _prepare(dsn, port)
    rates: dict[str, list[tuple[float, float]]] = {_BARE: [], _BULK: []}
    for request in requests.values():
        await _block(port, pid, request, options)  # warm
    for block in range(options.blocks):
        for path in (_BARE, _BULK) if block % 2 else (_BULK, _BARE):
            rates[path].append(await _block(port, pid, requests[path], options))
    async with Database(dsn, max_size=1) as database, database.connection() as conn:
        version = await conn.fetchval("SHOW server_version")
    result: dict[str, Any] = {"machine": support.machine(), "server_version": version}
    for number, name in enumerate(("per_second", "per_cpu_second")):
        bare, bulk = ([rate[number] for rate in rates[path]] for path in (_BARE, _BULK))
        ratios = [one / other for one, other in zip(bulk, bare, strict=True)]
        result[name] = {
            "bare": support.median(bare),
            "bulk": support.median(bulk),
            "ratio": support.median(ratios),
            "ratios": ratios,
        }
    return result


def measure(options: Options) -> dict[str, Any]:
    with (
        support.scratch() as root,
        support.private_server(root / "server", options.bin_dir) as server,
        _serving(server.dsn) as (port, pid),
    ):
        return uvloop.run(_measure(server.dsn, port, pid, options))


def table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield f"{'':<24}{'bare':>8}{'bulk, 304':>12}{'ratio':>8}{'least':>8}{'most':>8}   wanted: at least 0.9"
    for name, title in (("per_second", "answers/s"), ("per_cpu_second", "answers/CPU second")):
        one = result[name]
        cells = "".join(f"{value:>8.2f}" for value in (one["ratio"], min(one["ratios"]), max(one["ratios"])))
        yield f"{title:<24}{one['bare']:>8.0f}{one['bulk']:>12.0f}{cells}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)
