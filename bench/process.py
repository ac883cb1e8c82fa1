"""What a process takes: seconds until it can serve, and memory after work.

start       From exec of `bf-admin serve` to the first 200 of /readyz, asked every 5 ms; its database is up and
            upgraded, its bytecode written, and one start before the first that counts has warmed the page cache.
memory      Resident and proportional (PSS) MiB of one api process and of each worker, by smaps_rollup, after so
            many tenants were made through them by eight clients.

    python -m bench process                      # about a minute
    python -m bench process --rounds 0           # memory alone
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from bench import proc, support
from bench.support import Server

_CLIENTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    rounds: int
    tenants: int
    workers: int
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="starts that count (default: %(default)s)")
    parser.add_argument("--tenants", type=int, default=300, help="tenants made before memory is looked at")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(rounds=1, tenants=4, workers=1)
    return Options(**named), as_json


async def _start(server: Server, *, log: Path) -> tuple[float, float]:
    """Seconds of the clock, and of CPU, until ready."""
    port = support.free_port()
    begun = time.perf_counter()
    with support.running("serve", "--port", str(port), env=support.environment(server.dsn), log=log) as process:
        await support.ready(f"http://127.0.0.1:{port}", process, log=log, every=0.005)
        return time.perf_counter() - begun, proc.cpu_seconds(process.pid)


async def _starts(server: Server, options: Options, *, log: Path) -> dict[str, Any]:
    taken = [await _start(server, log=log) for _ in range(options.rounds + 1)][1:]
    if not taken:
        return {}
    seconds = [clock for clock, _ in taken]
    return {
        "rounds": options.rounds,
        "median_s": round(support.median(seconds), 2),
        "least_s": round(min(seconds), 2),
        "most_s": round(max(seconds), 2),
        "cpu_median_s": round(support.median(cpu for _, cpu in taken), 2),
    }


async def _memory(server: Server, options: Options, directory: Path) -> dict[str, Any]:
    async with support.service(server.dsn, directory, workers=options.workers, log=options.log) as service:
        post = partial(support.provision, service.client)
        await support.at_once([f"bench_{number:05}" for number in range(options.tenants)], [post] * _CLIENTS)
        return {
            "tenants": options.tenants,
            "api": proc.memory_mib(service.api.pid),
            "workers": [proc.memory_mib(worker.pid) for worker in service.workers],
        }


async def _measure(server: Server, options: Options, directory: Path) -> dict[str, Any]:
    conn = await asyncpg.connect(server.dsn)
    version = await conn.fetchval("SHOW server_version")
    await conn.close()
    return {
        "server_version": version,
        "start": await _starts(server, options, log=options.log or directory / "start.log"),
        "memory_mib": await _memory(server, options, directory),
    }


def measure(options: Options) -> dict[str, Any]:
    with support.scratch() as root, support.private_server(root / "server", options.bin_dir) as server:
        return {"machine": support.machine(), **uvloop.run(_measure(server, options, root))}


def table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield ""
    if start := result["start"]:
        yield f"{'serve until ready, seconds':<28}{'wanted':>8}{'median':>9}{'least':>8}{'most':>8}{'CPU':>8}{'n':>4}"
        cells = "".join(f"{start[name]:>8}" for name in ("least_s", "most_s", "cpu_median_s"))
        yield f"{'':<28}{'< 1.5':>8}{start['median_s']:>9}{cells}{start['rounds']:>4}"
        yield ""
    memory = result["memory_mib"]
    yield f"{'memory after tenants, MiB':<28}{'wanted':>8}{'RSS':>9}{'PSS':>8}{'':>16}{memory['tenants']:>4}"
    named = [("api", memory["api"]), *((f"worker {n}", worker) for n, worker in enumerate(memory["workers"], 1))]
    for name, taken in named:
        yield f"{name:<28}{'< 120':>8}{taken['rss']:>9}{taken['pss']:>8}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)
