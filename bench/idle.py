"""How many queries idle processes make: one api process and one worker, to whom nobody talks.

The server logs every statement (log_statement = all) with the name of the application it came from, for so
many seconds, beginning when both processes have settled. BEGIN and COMMIT count as statements. Wanted: none a
second from the api, fewer than five a second from the worker.

    python -m bench idle                     # a minute
    python -m bench idle --seconds 300
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
import uvloop

from bench import support
from bench.support import Server

# SIGHUP makes them hold for sessions that are there already.
_LOG_ALL: Final = ("ALTER SYSTEM SET log_statement = 'all'", "ALTER SYSTEM SET log_line_prefix = '%a|'")
_RELOAD: Final = "SELECT pg_reload_conf()"
_STATEMENT: Final = re.compile(r"^(?P<application>bf-admin[^|]*)\|LOG:  (?:statement|execute [^:]*): (?P<text>.*)$")
_OURS: Final = {
    "api": ("bf-admin api", "bf-admin api health", "bf-admin api ddl", "bf-admin listener"),
    "worker": ("bf-admin worker",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    seconds: float
    settle: float
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="listen for so long (default: %(default)s)")
    parser.add_argument("--settle", type=float, default=20.0, help="seconds before that (default: %(default)s)")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(seconds=2.0, settle=1.0)
    return Options(**named), as_json


def _statements(lines: str) -> Iterator[tuple[str, str]]:
    """(application, first words) of each statement; the other lines of a long one begin with a tab."""
    for line in re.sub(r"\n\t", " ", lines).splitlines():
        if match := _STATEMENT.match(line):
            yield match["application"], " ".join(match["text"].split())[:70]


def _whose(application: str) -> str | None:
    """None of those that start as commands do, and are no longer there once they have settled."""
    return next((whose for whose, names in _OURS.items() if application in names), None)


async def _measure(server: Server, options: Options, directory: Path) -> dict[str, Any]:
    async with support.service(server.dsn, directory, log=options.log):
        conn = await asyncpg.connect(server.superuser_dsn)
        try:
            for statement in _LOG_ALL:
                await conn.execute(statement)
            await conn.fetchval(_RELOAD)
            version = await conn.fetchval("SHOW server_version")
        finally:
            await conn.close()
        await asyncio.sleep(options.settle)
        begin = server.log.stat().st_size
        await asyncio.sleep(options.seconds)
        heard = list(_statements(server.log.read_bytes()[begin:].decode(errors="replace")))
    return {"server_version": version, "seconds": options.seconds} | {
        whose: _summary([text for application, text in heard if _whose(application) == whose], options.seconds)
        for whose in _OURS
    }


def _summary(texts: list[str], seconds: float) -> dict[str, Any]:
    each = {text: round(count / seconds, 2) for text, count in Counter(texts).most_common()}
    return {"queries": len(texts), "queries_per_second": round(len(texts) / seconds, 2), "each_per_second": each}


def measure(options: Options) -> dict[str, Any]:
    with support.scratch() as root, support.private_server(root / "server", options.bin_dir) as server:
        return {"machine": support.machine(), **uvloop.run(_measure(server, options, root))}


def table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield f"One api process and one worker, idle for {result['seconds']:.0f} s; all statements, by the server's log"
    yield ""
    yield f"{'queries a second':<84}{'wanted':>8}{'is':>8}"
    for whose, wanted in (("api", "0"), ("worker", "< 5")):
        yield f"{whose:<84}{wanted:>8}{result[whose]['queries_per_second']:>8}"
        for text, often in result[whose]["each_per_second"].items():
            yield f"    {text:<80}{'':>8}{often:>8}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)
