"""GET /health against a bare route that returns the same bytes, and what fifty pollers cost the database.

bare        The application has one route more, behind the same middleware and authentication, which answers with the
            bytes of the first /health and does nothing else. The same connections ask the two in turn, block by block;
            which of the two begins changes. Wanted: at least 0.9 of its answers.
pollers     So many clients ask /health once a second each, among so many tenants. Milliseconds of an answer, and the
            CPU of all of PostgreSQL's processes, less what they took in as many seconds before with nobody asking.
            Wanted: p99 under 100 ms, and under 5 percent of a core.

    python -m bench health                      # two to four minutes, most of it the tenants
    python -m bench health --tenants 20 --seconds 10
"""

import asyncio
import multiprocessing
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import uvloop
from fastapi import FastAPI, Response

from app import log
from app.apikeys.model import Role
from app.apikeys.service import Keys
from app.db.pool import Database
from app.health.schemas import MEDIA_TYPE
from app.http.auth import CurrentViewer
from app.main import create_app
from app.server import Server as HttpServer
from app.settings import Settings
from bench import proc, support
from bench.support import Server

_HEALTH: Final = "/health"
_BARE: Final = "/bare"
_SETUP: Final = "SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')"
# So that the answer is a 200, as it is where a worker lives.
_WORKER: Final = """
INSERT INTO bf_control.worker (id, host, process_id, release, heartbeat_at)
VALUES (gen_random_uuid(), 'bench', 1, '0', now() + interval '1 day')
"""
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    tenants: int
    block_seconds: float
    blocks: int
    clients: int
    pollers: int
    seconds: float
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--tenants", type=int, default=1000, help="in the database (default: %(default)s)")
    parser.add_argument("--block-seconds", type=float, default=1.0, help="of one block (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=10, help="so many each way (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=4, help="requests at once (default: %(default)s)")
    parser.add_argument("--pollers", type=int, default=50, help="once a second each (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of polling (default: %(default)s)")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(tenants=2, block_seconds=0.2, blocks=2, seconds=2.0)
    return Options(**named), as_json


# the service -----------------------------------------------------------------------------------------


def _with_bare_route(app: FastAPI) -> FastAPI:
    kept: list[bytes] = []

    @app.get(_BARE)
    async def bare(_: CurrentViewer) -> Response:
        if not kept:
            kept.append((await app.state.services.summary.get()).body)
        headers = {"ETag": '"bare"', "Cache-Control": "private, no-cache"}
        return Response(kept[0], media_type=MEDIA_TYPE, headers=headers)

    return app


def _serve(dsn: str, port: int) -> None:
    """The process of the service."""
    log.configure("WARNING", log_format="json")
    app = _with_bare_route(create_app(Settings.model_validate({"DATABASE_URL": dsn, "log_level": "WARNING"})))
    server = HttpServer(app, host="127.0.0.1", port=port, drain=1, head_seconds=10, started=lambda: None)
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


# the client ------------------------------------------------------------------------------------------


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The body of a 200."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head.lower())
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert length is not None, head
    return await reader.readexactly(int(length[1]))


async def _prepare(server: Server, port: int, tenants: int) -> dict[str, bytes]:
    """Tenants, a viewer's key, and the request of each way."""
    made = await asyncpg.connect(server.dsn)
    for number in range(tenants):
        await made.execute(_SETUP, f"bench_{number:05}")
    await made.execute(_WORKER)
    await made.execute("VACUUM (ANALYZE) bf_control.tenant")
    await made.close()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        await support.until(lambda: _ready(client))
    async with Database(server.dsn, max_size=1) as database, database.transaction() as conn:
        new = await Keys("").create(conn, name="bench", role=Role.VIEWER, created_by="bench")
    head = f"HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {new.key}\r\n\r\n"
    return {path: f"GET {path} {head}".encode() for path in (_BARE, _HEALTH)}


# the measurements ------------------------------------------------------------------------------------


async def _block(port: int, pid: int, request: bytes, options: Options) -> tuple[float, float]:
    """Answers per second, and answers per CPU second of the service."""
    end = time.perf_counter() + options.block_seconds

    async def ask() -> int:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        answered = 0
        while time.perf_counter() < end:
            writer.write(request)
            await _answer(reader)
            answered += 1
        writer.close()
        return answered

    begun, spent = time.perf_counter(), proc.cpu_seconds(pid)
    answered = sum(await asyncio.gather(*(ask() for _ in range(options.clients))))
    return answered / (time.perf_counter() - begun), answered / (proc.cpu_seconds(pid) - spent)


async def _against_bare(port: int, pid: int, requests: dict[str, bytes], options: Options) -> dict[str, Any]:
    rates: dict[str, list[tuple[float, float]]] = {_BARE: [], _HEALTH: []}
    for request in requests.values():
        await _block(port, pid, request, options)  # warm
    for block in range(options.blocks):
        for path in (_BARE, _HEALTH) if block % 2 else (_HEALTH, _BARE):
            rates[path].append(await _block(port, pid, requests[path], options))
    result: dict[str, Any] = {}
    for number, name in enumerate(("per_second", "per_cpu_second")):
        bare, health = ([rate[number] for rate in rates[path]] for path in (_BARE, _HEALTH))
        ratios = [one / other for one, other in zip(health, bare, strict=True)]
        result[name] = {
            "bare": support.median(bare),
            "health": support.median(health),
            "ratio": support.median(ratios),
            "ratios": ratios,
        }
    return result


async def _poll(port: int, request: bytes, first: float, seconds: float) -> list[float]:
    """Milliseconds of each answer of one poller."""
    await asyncio.sleep(first)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    taken: list[float] = []
    due = time.perf_counter()
    end = due + seconds
    while due < end:
        begun = time.perf_counter()
        writer.write(request)
        await _answer(reader)
        taken.append((time.perf_counter() - begun) * 1000)
        due += 1
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    writer.close()
    return taken


def _database_cpu(server: Server) -> float:
    """Seconds of all processes of PostgreSQL, those that have ended among them."""
    return sum(proc.cpu_seconds(pid) for pid in [server.postmaster, *proc.children(server.postmaster)])


async def _pollers(port: int, server: Server, request: bytes, options: Options) -> dict[str, Any]:
    before = _database_cpu(server)
    await asyncio.sleep(options.seconds)
    idle = _database_cpu(server) - before
    before = _database_cpu(server)
    polls = (_poll(port, request, number / options.pollers, options.seconds) for number in range(options.pollers))
    taken = [ms for one in await asyncio.gather(*polls) for ms in one]
    spent = _database_cpu(server) - before
    ordered = sorted(taken)
    return {
        "answers": len(ordered),
        "median_ms": support.median(ordered),
        "p99_ms": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
        "most_ms": ordered[-1],
        "database_percent": 100 * max(0.0, spent - idle) / options.seconds,
        "idle_percent": 100 * idle / options.seconds,
    }


async def _measure(server: Server, port: int, pid: int, options: Options) -> dict[str, Any]:
    requests = await _prepare(server, port, options.tenants)
    async with Database(server.dsn, max_size=1) as database, database.connection() as conn:
        version = await conn.fetchval("SHOW server_version")
    return {
        "machine": support.machine(),
        "server_version": version,
        "tenants": options.tenants,
        "bare": await _against_bare(port, pid, requests, options),
        "pollers": await _pollers(port, server, requests[_HEALTH], options),
    }


def measure(options: Options) -> dict[str, Any]:
    with (
        support.scratch() as root,
        support.private_server(root / "server", options.bin_dir) as server,
        _serving(server.dsn) as (port, pid),
    ):
        return uvloop.run(_measure(server, port, pid, options))


def table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield f"{'':<24}{'bare':>8}{'/health':>12}{'ratio':>8}{'least':>8}{'most':>8}   wanted: at least 0.9"
    for name, title in (("per_second", "answers/s"), ("per_cpu_second", "answers/CPU second")):
        one = result["bare"][name]
        cells = "".join(f"{value:>8.2f}" for value in (one["ratio"], min(one["ratios"]), max(one["ratios"])))
        yield f"{title:<24}{one['bare']:>8.0f}{one['health']:>12.0f}{cells}"
    polled = result["pollers"]
    yield ""
    yield f"{polled['answers']} answers to pollers among {result['tenants']} tenants"
    times = (polled[name] for name in ("median_ms", "p99_ms", "most_ms"))
    yield "{:<24}median {:.1f}, p99 {:.1f}, most {:.1f}".format("milliseconds", *times)
    yield f"{'PostgreSQL, of a core':<24}{polled['database_percent']:.1f} % (idle {polled['idle_percent']:.1f} %)"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)
