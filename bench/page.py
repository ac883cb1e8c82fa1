"""What a page of the tenant list takes at 10,000 tenants, from the first byte asked to the last one read.

A client that is signed in asks for one view after the other, by turns. The milliseconds are those of the answer:
session, role, query and rendering; drawing it is the browser's.

    python -m bench page                      # about a minute
    python -m bench page --tenants 100000
"""

import asyncio
import re
import statistics
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg
import httpx

from bench import support
from bench.lists import FILL
from bench.support import Server, free_port, heading, machine, p95, parser, private_server, report, running, scratch

_VIEWS: Final = {
    "the list": "/ui/tenants",
    "by name, descending": "/ui/tenants?order_by=-name",
    "state and tier": "/ui/tenants?state=active&tier=premium",
    "a feature": "/ui/tenants?feature=ai_insights",
    "a search": "/ui/tenants?q=firm+12",
    "a search for nothing": "/ui/tenants?q=nothing_at_all",
    "the fleet": "/ui/fleet",
}
_WANTED: Final = 150.0
_TOKEN: Final = re.compile(r'name="form_token" value="([0-9a-f]+)"')
_NEXT: Final = re.compile(r'href="(/ui/tenants\?[^"]+)" id="next-page"')


async def _signed_in(client: httpx.AsyncClient, key: str) -> None:
    token = _TOKEN.search((await client.get("/")).text)
    assert token is not None
    answer = await client.post("/ui/login", data={"form_token": token[1], "key": key})
    assert answer.status_code == 303, answer.text


async def _timed(client: httpx.AsyncClient, path: str) -> float:
    begun = time.perf_counter()
    answer = await client.get(path)
    taken = (time.perf_counter() - begun) * 1000
    assert answer.status_code == 200, answer.text
    return taken


async def _measure(server: Server, url: str, key: str, *, tenants: int, runs: int) -> dict[str, Any]:
    conn = await asyncpg.connect(server.dsn)
    await conn.execute(FILL, 1, tenants)
    await conn.execute("ANALYZE bf_control.tenant")
    await conn.execute("ANALYZE bf_control.listed_feature")
    version = await conn.fetchval("SHOW server_version")
    await conn.close()
    async with httpx.AsyncClient(base_url=url, headers={"Accept": "text/html"}, timeout=60) as client:
        await _signed_in(client, key)
        first = (await client.get("/ui/tenants")).text
        following = _NEXT.search(first)
        views = dict(_VIEWS) if following is None else {**_VIEWS, "the next page": following[1].replace("&amp;", "&")}
        taken: dict[str, list[float]] = {name: [] for name in views}
        for turn in range(runs + 1):
            for name, path in views.items():
                milliseconds = await _timed(client, path)
                if turn:  # the first of each only warms up
                    taken[name].append(milliseconds)
    return {
        "machine": machine(),
        "server_version": version,
        "tenants": tenants,
        "kilobytes": round(len(first) / 1024, 1),
        "ms": {name: _summary(found) for name, found in taken.items()},
    }


def _summary(taken: Sequence[float]) -> dict[str, float]:
    found = {"least": min(taken), "median": statistics.median(taken), "p95": p95(taken)}
    return {name: round(value, 1) for name, value in found.items()}


def main(arguments: Sequence[str]) -> None:
    named = parser(__doc__)
    named.add_argument("--tenants", type=int, default=10_000, help="rows of the registry (default: %(default)s)")
    named.add_argument("--runs", type=int, default=40, help="of each view (default: %(default)s)")
    options = named.parse_args(arguments)
    tenants, runs = (1000, 3) if options.quick else (options.tenants, options.runs)
    with scratch() as directory, private_server(directory / "server", options.bin_dir) as server:
        port, log, key_file = free_port(), directory / "service.log", directory / "key"
        env = support.environment(server.dsn, BF_BOOTSTRAP_ADMIN_KEY_FILE=str(key_file))
        with running("serve", "--port", str(port), env=env, log=log) as process:
            url = f"http://127.0.0.1:{port}"
            asyncio.run(support.ready(url, process, log=log))
            key = key_file.read_text().strip()
            result = asyncio.run(_measure(server, url, key, tenants=tenants, runs=runs))
    lines = [heading(result), f"Views at {tenants} tenants, ms (target: {_WANTED:.0f}); least, median, p95:"]
    for name, ms in result["ms"].items():
        lines.append(f"  {name:24} {ms['least']:7.1f} {ms['median']:7.1f} {ms['p95']:7.1f}")
    report(result, lines, as_json=options.json)
