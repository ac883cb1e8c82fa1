"""What a tenant costs the whole system in CPU, with many at once, against the bare function.

In turn, block by block on one server: `SELECT setup_tenant(...)` over as many connections as there are
workers, and `POST /v1/tenants` with `Prefer: wait` by the clients, through one api process and the workers,
each a process of its own with default settings. Which of the two begins changes from block to block.

Counted are CPU seconds, user and system, by /proc/PID/stat with its ended children:

bare        the sessions that call it, and the server's own processes (postmaster, checkpointer, writers,
            autovacuum). Api and workers are stopped (SIGSTOP) meanwhile, so that nothing idle counts for it;
            what their sessions still have to do (catching up with the others' catalogue changes) does not
            count either.
post        every session of api and workers, the server's own processes, api, workers. The sessions of the
            bare calls are idle meanwhile, and what they have to do does not count.

After each block both have half a second for what goes on behind the last answer, which counts. The clients
are this process and count for neither. The machine decides on the figures; the ratio is to be read.

    python -m bench throughput                     # a minute or two
    python -m bench throughput --bin-dir /usr/lib/postgresql/15/bin --json
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import uvloop

from bench import proc, support
from bench.support import Server, Service

Way = Literal["bare", "post"]

_SETUP: Final = "SELECT bf_shared.setup_tenant($1, 'Bench', 'bench')"
_ACTIVE: Final = "SELECT count(*) FROM bf_control.tenant WHERE state = 'active'"
_LISTENERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'bf-admin worker' AND query ~ 'LISTEN'"
)
_SESSIONS: Final = "SELECT application_name, array_agg(pid) FROM pg_stat_activity WHERE usename = $1 GROUP BY 1"
_REST: Final = 0.5  # seconds after a block


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    tenants: int
    block: int
    clients: int
    workers: int
    warm_up: int
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--tenants", type=int, default=300, help="make so many each way (default: %(default)s)")
    parser.add_argument("--block", type=int, default=25, help="so many in a row (default: %(default)s)")
    parser.add_argument("--clients", type=int, default=8, help="requests at once (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="and bare connections (default: %(default)s)")
    parser.add_argument("--warm-up", type=int, default=25, help="tenants each way that do not count")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(tenants=8, block=4, warm_up=2)
    return Options(**named), as_json


# what is counted -------------------------------------------------------------------------------------


class Meter:
    """CPU seconds by whose they are."""

    def __init__(self, server: Server, service: Service, bare: Sequence[int]) -> None:
        self._server = server
        self._service = service
        self._bare = set(bare)

    def read(self) -> dict[str, float]:
        own, sessions, bare = proc.cpu_seconds(self._server.postmaster), 0.0, 0.0
        for pid in proc.children(self._server.postmaster):
            try:
                title, seconds = proc.title(pid), proc.cpu_seconds(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended meanwhile, and is the postmaster's from now on
            if pid in self._bare:
                bare += seconds
            elif title.startswith("postgres: bf_migrator "):
                sessions += seconds
            else:
                own += seconds
        return {
            "server": own,
            "bare": bare,
            "sessions": sessions,
            "api": proc.cpu_seconds(self._service.api.pid),
            "workers": sum(proc.cpu_seconds(worker.pid) for worker in self._service.workers),
            "clients": time.process_time(),
        }


# Whose seconds count for which way.
COUNTED: Final[dict[Way, tuple[str, ...]]] = {
    "bare": ("bare", "server"),
    "post": ("sessions", "server", "api", "workers"),
}


@dataclass(slots=True)
class Account:
    """What one way has cost so far."""

    tenants: int = 0
    wall: float = 0.0
    ms: list[float] = field(default_factory=list)
    cpu: dict[str, float] = field(default_factory=dict)

    def add(self, ms: list[float], *, wall: float, cpu: dict[str, float]) -> None:
        self.tenants += len(ms)
        self.wall += wall
        self.ms += ms
        for whose, seconds in cpu.items():
            self.cpu[whose] = self.cpu.get(whose, 0.0) + seconds

    def document(self, way: Way) -> dict[str, Any]:
        each = {whose: round(seconds / self.tenants * 1000, 1) for whose, seconds in self.cpu.items()}
        return {
            "tenants": self.tenants,
            "cpu_ms_per_tenant": round(sum(self.cpu[whose] for whose in COUNTED[way]) / self.tenants * 1000, 1),
            "cpu_ms_per_tenant_of": each,
            "tenants_per_second": round(self.tenants / self.wall, 1),
            "p50_ms": round(support.median(self.ms), 1),
            "p95_ms": round(support.p95(self.ms), 1),
        }


# the run ---------------------------------------------------------------------------------------------


@contextmanager
def _stopped(service: Service) -> Iterator[None]:
    processes = (service.api, *service.workers)
    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGCONT)


class Run:
    """Makes tenants in blocks, in turn both ways."""

    def __init__(
        self,
        server: Server,
        service: Service,
        bare: "Sequence[asyncpg.Connection[asyncpg.Record]]",
        options: Options,
    ) -> None:
        self._service = service
        self._bare = bare
        self._options = options
        self._meter = Meter(server, service, [conn.get_server_pid() for conn in bare])
        self._made = 0
        self.accounts: dict[Way, Account] = {"bare": Account(), "post": Account()}
        self.ratios: list[float] = []

    async def whole(self) -> None:
        warming: dict[Way, Account] = {"bare": Account(), "post": Account()}
        for way in warming:
            await self._block(way, self._options.warm_up, warming[way])
        for number, first in enumerate(range(0, self._options.tenants, self._options.block)):
            count = min(self._options.block, self._options.tenants - first)
            blocks: dict[Way, Account] = {"bare": Account(), "post": Account()}
            turn: tuple[Way, Way] = ("bare", "post") if number % 2 else ("post", "bare")
            for way in turn:
                await self._block(way, count, self.accounts[way], blocks[way])
            costs = {way: blocks[way].document(way)["cpu_ms_per_tenant"] for way in turn}
            self.ratios.append(costs["post"] / costs["bare"])

    async def _block(self, way: Way, count: int, *accounts: Account) -> None:
        ids = [f"bench_{number:05}" for number in range(self._made, self._made + count)]
        self._made += count
        if way == "bare":
            with _stopped(self._service):
                await self._measured(ids, [partial(_setup, conn) for conn in self._bare], accounts)
        else:
            post = partial(support.provision, self._service.client)
            await self._measured(ids, [post] * self._options.clients, accounts)

    async def _measured(self, ids: Sequence[str], makers: Sequence[Any], accounts: Sequence[Account]) -> None:
        before, begun = self._meter.read(), time.perf_counter()
        ms = await support.at_once(ids, makers)
        wall = time.perf_counter() - begun
        await asyncio.sleep(_REST)
        after = self._meter.read()
        for account in accounts:
            account.add(ms, wall=wall, cpu={whose: after[whose] - before[whose] for whose in after})


async def _setup(conn: "asyncpg.Connection[asyncpg.Record]", tenant_id: str) -> float:
    begun = time.perf_counter()
    await conn.fetchval(_SETUP, tenant_id)
    return (time.perf_counter() - begun) * 1000


@asynccontextmanager
async def _connections(dsn: str, count: int) -> "AsyncIterator[list[asyncpg.Connection[asyncpg.Record]]]":
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            opened.append(await asyncpg.connect(dsn, server_settings={"application_name": "bench bare"}))
            stack.push_async_callback(opened[-1].close)
        yield opened


async def _sessions(conn: "asyncpg.Connection[asyncpg.Record]") -> dict[str, Any]:
    """How many each process holds at the end, and the CPU seconds they have had, by application name."""
    rows = await conn.fetch(_SESSIONS, "bf_migrator")
    return {
        row[0]: {"sessions": len(row[1]), "cpu_s": round(sum(proc.cpu_seconds(pid) for pid in row[1]), 2)}
        for row in rows
    }


async def _measure(server: Server, options: Options, directory: Path) -> dict[str, Any]:
    async with (
        support.service(server.dsn, directory, workers=options.workers, log=options.log) as service,
        _connections(server.dsn, options.workers) as bare,
    ):

        async def listening() -> bool:
            return bool(await bare[0].fetchval(_LISTENERS) == options.workers)

        await support.until(listening)
        run = Run(server, service, bare, options)
        await run.whole()
        made = 2 * (options.tenants + options.warm_up)
        active = await bare[0].fetchval(_ACTIVE)
        assert active == made, f"{made} made, {active} active"
        documents: dict[str, dict[str, Any]] = {way: run.accounts[way].document(way) for way in run.accounts}
        return {
            "server_version": await bare[0].fetchval("SHOW server_version"),
            **documents,
            "ratio": round(documents["post"]["cpu_ms_per_tenant"] / documents["bare"]["cpu_ms_per_tenant"], 2),
            "ratio_of_blocks": {"median": round(support.median(run.ratios), 2), "blocks": len(run.ratios)},
            "sessions": await _sessions(bare[0]),
            "memory_mib": {
                "api": proc.memory_mib(service.api.pid),
                "workers": [proc.memory_mib(worker.pid) for worker in service.workers],
            },
        }


def measure(options: Options) -> dict[str, Any]:
    with support.scratch() as root, support.private_server(root / "server", options.bin_dir) as server:
        measured = uvloop.run(_measure(server, options, root))
    shape = {"clients": options.clients, "workers": options.workers, "block": options.block}
    return {"machine": support.machine(), **shape, **measured}


_ROWS: Final = (
    ("sessions of the calls", "bare", "bare"),
    ("sessions of api and workers", "post", "sessions"),
    ("the server's own processes", None, "server"),
    ("api", "post", "api"),
    ("workers", "post", "workers"),
    ("clients (not counted)", None, "clients"),
)


def table(result: dict[str, Any]) -> Iterator[str]:
    bare, post, workers = result["bare"], result["post"], result["workers"]
    yield support.heading(result)
    yield f"{post['tenants']} tenants each way; {workers} connections; {result['clients']} clients, {workers} workers"
    yield "CPU: user and system time of the processes named, by /proc"
    yield ""
    yield f"{'CPU ms a tenant':<32}{'setup_tenant()':>16}{'POST':>10}"
    for label, only, whose in _ROWS:
        cells = [
            "" if only not in (None, way) else result[way]["cpu_ms_per_tenant_of"][whose] for way in ("bare", "post")
        ]
        yield f"{label:<32}{cells[0]:>16}{cells[1]:>10}"
    yield f"{'whole system':<32}{bare['cpu_ms_per_tenant']:>16}{post['cpu_ms_per_tenant']:>10}"
    blocks = result["ratio_of_blocks"]
    yield f"POST / setup_tenant(): {result['ratio']} (median of {blocks['blocks']} pairs of blocks: {blocks['median']})"
    yield ""
    for label, name in (("tenants a second", "tenants_per_second"), ("p50, ms", "p50_ms"), ("p95, ms", "p95_ms")):
        yield f"{label:<32}{bare[name]:>16}{post[name]:>10}"
    yield ""
    for name, held in sorted(result["sessions"].items()):
        yield f"{name:<32}{held['sessions']:>4} sessions at the end, {held['cpu_s']} s of CPU in all"
    api, workers = result["memory_mib"]["api"], result["memory_mib"]["workers"]
    yield f"RSS, MiB: api {api['rss']}, workers {', '.join(str(worker['rss']) for worker in workers)}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)
