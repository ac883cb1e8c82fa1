"""GET /v1/tenants/{id}/config against a bare route that selects the same row.

The bare route is added to the same application, in the same process: behind the same middleware and authentication, it
selects the tenant's row of tenant_config as JSON and answers with it, and does nothing else. One client with so many
connections asks for one and the other in alternating blocks, over keys that spread over so many tenants. The client is
no HTTP library: it writes the request's bytes and reads the answer to its end.

requests    A second of each, over all its blocks; the ratio is the median over pairs of blocks. Wanted: at least 0.8.
CPU         Milliseconds of the API's process for a request, by /proc: what does not depend on who else is at work.

    python -m bench config_read                      # about a minute
    python -m bench config_read --blocks 40
"""

import asyncio
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from app.http.auth import CurrentViewer
from app.http.dependencies import Db
from app.main import create_app
from app.server import Server as HttpServer
from app.settings import Settings
from bench import proc, support
from bench.support import Server

_SELECT: Final = "SELECT to_jsonb(c) FROM bf_shared.tenant_config c WHERE c.tenant_id = $1"
_LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
_PATHS: Final = {"bare": "/bare/{}", "config": "/v1/tenants/{}/config"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    tenants: int
    connections: int
    block: int
    blocks: int
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--tenants", type=int, default=20, help="tenants asked about (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="at a time (default: %(default)s)")
    parser.add_argument("--block", type=int, default=1000, help="requests of a block (default: %(default)s)")
    parser.add_argument("--blocks", type=int, default=15, help="blocks of each (default: %(default)s)")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(tenants=2, block=50, blocks=2)
    return Options(**named), as_json


# the service, and the bare route ---------------------------------------------------------------------


def with_bare_route(app: FastAPI) -> FastAPI:
    @app.get("/bare/{tenant_id}")
    async def bare(tenant_id: str, db: Db, _: CurrentViewer) -> JSONResponse:
        async with db.connection() as conn:
            return JSONResponse(await conn.fetchval(_SELECT, tenant_id))

    return app


def serve(port: int) -> None:
    """As `bf-admin serve` does, on the same event loop."""
    settings = Settings()
    app = with_bare_route(create_app(settings))
    server = HttpServer(app, host="127.0.0.1", port=port, drain=1, head_seconds=10, started=lambda: None)
    uvloop.run(server.run_until_signal())


@contextmanager
def _serving(server: Server, port: int, *, key_file: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "bench.config_read", str(port)]
    env = support.environment(server.dsn, BF_BOOTSTRAP_ADMIN_KEY_FILE=str(key_file))
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(support.PATIENCE)


# the client ------------------------------------------------------------------------------------------


class _Line:
    """One connection that is kept alive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, request: bytes) -> bytes:
        """The body of a 200."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head.lower())
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert length is not None, head
        return await self._reader.readexactly(int(length[1]))


@dataclass(slots=True)
class _Taken:
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0


async def _block(lines: Sequence[_Line], requests: Sequence[bytes]) -> float:
    waiting = iter(requests)

    async def work(line: _Line) -> None:
        for request in waiting:
            await line.ask(request)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for line in lines:
            group.create_task(work(line))
    return time.perf_counter() - begun


async def _blocks(port: int, key: str, pid: int, tenant_ids: Sequence[str], options: Options) -> dict[str, _Taken]:
    lines = [_Line(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(options.connections)]
    head = f"HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n\r\n"
    requests = {
        way: [f"GET {path.format(tenant_ids[n % len(tenant_ids)])} {head}".encode() for n in range(options.block)]
        for way, path in _PATHS.items()
    }
    rows = [json.loads(await lines[0].ask(asked[0])) for asked in requests.values()]
    assert rows[1].items() <= rows[0].items(), "both say the same of the row"
    taken = {way: _Taken() for way in requests}
    for turn in range(options.blocks + 1):
        for way in list(requests) if turn % 2 else reversed(list(requests)):
            before = proc.cpu_seconds(pid)
            seconds = await _block(lines, requests[way])
            if turn:  # the first of each only warms up
                taken[way].seconds.append(seconds)
                taken[way].cpu_seconds += proc.cpu_seconds(pid) - before
    return taken


# measuring -------------------------------------------------------------------------------------------


async def _measure(server: Server, options: Options, directory: Path) -> dict[str, Any]:
    conn = await asyncpg.connect(server.dsn)
    tenant_ids = [f"bench_{number:05}" for number in range(options.tenants)]
    for tenant_id in tenant_ids:
        await conn.execute("SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')", tenant_id)
    version = await conn.fetchval("SHOW server_version")
    await conn.close()
    port, log, key_file = support.free_port(), options.log or directory / "service.log", directory / "key"
    with _serving(server, port, key_file=key_file, log=log) as process:
        await support.ready(f"http://127.0.0.1:{port}", process, log=log)
        taken = await _blocks(port, key_file.read_text().strip(), process.pid, tenant_ids, options)
    asked = options.block * options.blocks
    ratios = [bare / config for bare, config in zip(taken["bare"].seconds, taken["config"].seconds, strict=True)]
    return {
        "server_version": version,
        "requests": asked,
        **{
            way: {
                "requests_per_second": round(asked / sum(measured.seconds), 1),
                "cpu_ms_per_request": round(measured.cpu_seconds * 1000 / asked, 3),
            }
            for way, measured in taken.items()
        },
        "ratio": {
            "median": round(support.median(ratios), 3),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
        },
        "ratio_of_cpu": round(taken["bare"].cpu_seconds / taken["config"].cpu_seconds, 3),
    }


def measure(options: Options) -> dict[str, Any]:
    with support.scratch() as root, support.private_server(root / "server", options.bin_dir) as server:
        measured = uvloop.run(_measure(server, options, root))
    shape = {"tenants": options.tenants, "connections": options.connections, "block": options.block}
    return {"machine": support.machine(), **shape, **measured}


def table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield f"{result['requests']} requests each way in blocks of {result['block']}, {result['connections']} connections"
    yield ""
    yield f"{'':<32}{'bare route':>12}{'config':>10}"
    bare, config, ratio = result["bare"], result["config"], result["ratio"]
    spread = f"{ratio['median']} ({ratio['least']} to {ratio['most']})"
    rates = bare["requests_per_second"], config["requests_per_second"]
    yield f"{'requests a second':<32}{rates[0]:>12}{rates[1]:>10}   config / bare: {spread}, wanted 0.8"
    costs = bare["cpu_ms_per_request"], config["cpu_ms_per_request"]
    yield f"{'CPU of the api, ms a request':<32}{costs[0]:>12}{costs[1]:>10}   bare / config: {result['ratio_of_cpu']}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
