"""What provisioning costs through the service, against the bare function, on one server in one run.

Three measures, each a ratio or a time until something is usable:

post    `POST /v1/tenants` with `Prefer: wait`, from the request to the 201 of an active tenant, against
        `SELECT setup_tenant(...)` in autocommit on a connection of its own: taken in turn, pair by pair,
        and which goes first changes from pair to pair.
growth  The same two at the 1,000th tenant against the 100th. Every tenant in between is made too, in turn by
        the one and by the other, so that the service's own tables grow with the catalogue.
up      Seconds from `bf-admin up` to the first 200 of /readyz: in an empty directory (initdb included), and
        again in the same one.

The server is private to the run and as durable as PostgreSQL's defaults make it. `bf-admin serve` and
`bf-admin worker` are processes of their own with default settings. Nothing is asserted: timings are for
people to read. The exit status tells only whether the run came to its end.

    python -m bench provision                                       # embedded PostgreSQL, about five minutes
    python -m bench provision --bin-dir /usr/lib/postgresql/15/bin --json
    python -m bench provision --tenants 300 --window 25             # a quick look, without the 1,000th
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import httpx
import uvloop

from app.db.embedded import Binaries, EmbeddedServer
from bench import support

Way = Literal["bare", "post"]

_SETUP: Final = "SELECT bf_shared.setup_tenant($1, $2, $3)"
_STATE: Final = "SELECT count(*) FROM bf_control.tenant WHERE state = 'active'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    tenants: int
    pairs: int
    warm_up: int
    window: int
    pause: float
    rounds: int
    bin_dir: Path | None
    one_process: bool
    log: Path | None

    @classmethod
    def parse(cls, arguments: Sequence[str] | None = None) -> tuple["Options", bool]:
        """The options, and whether JSON is wanted."""
        parser = support.parser(__doc__)
        parser.add_argument("--tenants", type=int, default=1050, help="make so many (default: %(default)s)")
        parser.add_argument("--pairs", type=int, default=100, help="pairs of the measure `post` (default: %(default)s)")
        parser.add_argument("--warm-up", type=int, default=10, help="pairs before the first that counts")
        parser.add_argument("--window", type=int, default=50, help="tenants on either side of the 100th and 1,000th")
        parser.add_argument("--pause", type=float, default=0.15, help="seconds of rest before each measured call")
        parser.add_argument("--rounds", type=int, default=3, help="starts of `bf-admin up` of either kind; 0 for none")
        parser.add_argument("--one-process", action="store_true", help="`serve --with-worker`, as `up` runs it")
        named = vars(parser.parse_args(arguments))
        as_json: bool = named.pop("json")
        if named.pop("quick"):
            named.update(tenants=8, pairs=3, warm_up=1, window=1, rounds=0)
        return cls(**named), as_json


# provisioning ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One tenant: the how-many-th, how it was made, and in how many milliseconds."""

    ordinal: int
    way: Way
    ms: float


class Provisioning:
    """Makes tenants, in turn bare and by POST."""

    def __init__(self, conn: "asyncpg.Connection[asyncpg.Record]", client: httpx.AsyncClient, *, pause: float) -> None:
        self._ways: dict[Way, Callable[[str], Awaitable[None]]] = {"bare": self._bare, "post": self._post}
        self._conn = conn
        self._client = client
        self._pause = pause
        self.samples: list[Sample] = []

    async def run(self, options: Options) -> None:
        for pair in range(options.tenants // 2):
            turn: tuple[Way, Way] = ("bare", "post") if pair % 2 else ("post", "bare")
            for way in turn:
                await self._measure(way)
            if pair % 50 == 49:
                print(f"{len(self.samples)} tenants", file=sys.stderr)
        active = await self._conn.fetchval(_STATE)
        assert active == len(self.samples), f"{len(self.samples)} made, {active} active"

    async def _measure(self, way: Way) -> None:
        ordinal = len(self.samples) + 1
        await asyncio.sleep(self._pause)
        begun = time.perf_counter()
        await self._ways[way](f"bench_{ordinal:05}")
        self.samples.append(Sample(ordinal=ordinal, way=way, ms=(time.perf_counter() - begun) * 1000))

    async def _bare(self, tenant_id: str) -> None:
        await self._conn.fetchval(_SETUP, tenant_id, "Bench", "bench")

    async def _post(self, tenant_id: str) -> None:
        await support.provision(self._client, tenant_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    count: int
    median_ms: float
    p95_ms: float

    @classmethod
    def of(cls, samples: Sequence[Sample], way: Way, *, first: int, last: int) -> "Times":
        taken = sorted(s.ms for s in samples if s.way == way and first <= s.ordinal <= last)
        return cls(count=len(taken), median_ms=round(support.median(taken), 1), p95_ms=round(support.p95(taken), 1))

    def document(self) -> dict[str, float]:
        return {"count": self.count, "median_ms": self.median_ms, "p95_ms": self.p95_ms}


def _post_measure(samples: Sequence[Sample], options: Options) -> dict[str, Any]:
    first = 2 * options.warm_up + 1
    last = first + 2 * options.pairs - 1
    bare, post = (Times.of(samples, way, first=first, last=last) for way in ("bare", "post"))
    return {
        "bare": bare.document(),
        "post": post.document(),
        "ratio": round(post.median_ms / bare.median_ms, 2),
    }


def _growth_measure(samples: Sequence[Sample], options: Options) -> dict[str, Any]:
    """Empty where the run is too short for the 1,000th."""
    if len(samples) < 1000 + options.window:
        return {}
    result: dict[str, Any] = {}
    for way in ("bare", "post"):
        at = {n: Times.of(samples, way, first=n - options.window, last=n + options.window) for n in (100, 1000)}
        result[way] = {
            "at_100": at[100].document(),
            "at_1000": at[1000].document(),
            "ratio": round(at[1000].median_ms / at[100].median_ms, 2),
        }
    result["post_to_bare_at_1000"] = round(
        result["post"]["at_1000"]["median_ms"] / result["bare"]["at_1000"]["median_ms"], 2
    )
    return result


async def _provision(dsn: str, options: Options, directory: Path) -> tuple[str, list[Sample]]:
    """The server's version, and what was measured."""
    workers = 0 if options.one_process else 1
    async with support.service(
        dsn, directory, workers=workers, one_process=options.one_process, log=options.log
    ) as service:
        conn = await asyncpg.connect(dsn)
        try:
            provisioning = Provisioning(conn, service.client, pause=options.pause)
            await provisioning.run(options)
            return str(await conn.fetchval("SHOW server_version")), provisioning.samples
        finally:
            await conn.close()


# up --------------------------------------------------------------------------------------------------


def _up_measure(rounds: int, root: Path) -> dict[str, Any]:
    """Seconds, the median of so many starts of either kind."""
    taken: dict[str, list[float]] = {"cold": [], "warm": []}
    for number in range(rounds):
        directory = root / f"up-{number}"
        try:
            for kind, seconds in taken.items():
                seconds.append(_up_once(directory, log=root / f"up-{number}-{kind}.log"))
        finally:
            EmbeddedServer(directory, binaries=Binaries.packaged()).destroy()
    return {f"{kind}_s": round(support.median(seconds), 2) for kind, seconds in taken.items() if seconds}


def _up_once(directory: Path, *, log: Path) -> float:
    port = support.free_port()
    begun = time.perf_counter()
    arguments = ("up", "--data-dir", str(directory), "--port", str(port))
    with support.running(*arguments, env=support.environment(), log=log) as process:
        asyncio.run(support.ready(f"http://127.0.0.1:{port}", process, log=log))
        return time.perf_counter() - begun


# the run ---------------------------------------------------------------------------------------------


def measure(options: Options) -> dict[str, Any]:
    with support.scratch() as root:
        up = _up_measure(options.rounds, root)
        with support.private_server(root / "server", options.bin_dir) as server:
            server_version, samples = uvloop.run(_provision(server.dsn, options, root))
    return {
        "machine": support.machine(),
        "server_version": server_version,
        "processes": "serve --with-worker" if options.one_process else "serve, worker",
        "tenants": len(samples),
        "post": _post_measure(samples, options),
        "growth": _growth_measure(samples, options),
        "up": up,
    }


def _table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield f"{result['tenants']} tenants, by {result['processes']}"
    yield ""
    yield f"{'milliseconds':<28}{'median':>9}{'p95':>9}{'n':>6}"
    for way, label in (("bare", "SELECT setup_tenant()"), ("post", "POST, Prefer: wait")):
        yield _line(label, result["post"][way])
    yield f"{'POST / bare':<28}{result['post']['ratio']:>9}"
    if growth := result["growth"]:
        for way, label in (("bare", "setup_tenant()"), ("post", "POST")):
            yield ""
            yield _line(f"{label}, the 100th", growth[way]["at_100"])
            yield _line(f"{label}, the 1,000th", growth[way]["at_1000"])
            yield f"{'1,000th / 100th':<28}{growth[way]['ratio']:>9}"
        yield f"{'POST / bare at 1,000':<28}{growth['post_to_bare_at_1000']:>9}"
    if up := result["up"]:
        yield ""
        yield f"bf-admin up until ready: {up['cold_s']} s in an empty directory, {up['warm_s']} s again"


def _line(label: str, times: dict[str, float]) -> str:
    return f"{label:<28}{times['median_ms']:>9}{times['p95_ms']:>9}{times['count']:>6}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = Options.parse(arguments)
    if options.tenants < 2 * (options.warm_up + options.pairs):
        sys.exit("--tenants must be at least twice --warm-up and --pairs together")
    result = measure(options)
    support.report(result, _table(result), as_json=as_json)
