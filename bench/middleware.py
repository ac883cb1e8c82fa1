"""What the middleware costs a request: ids, log line, deadline, limits of use and figures, against nothing of it.

The application with a public route more that does nothing is called in this process, as uvicorn calls it, with its
middleware and without. Counted is the process's CPU over blocks of requests, in turn, so that what the machine does
meanwhile falls on all alike. `with its log line` writes one for each request, as at BF_LOG_LEVEL=INFO.

    python -m bench middleware               # a minute
    python -m bench middleware --requests 2000
"""

import gc
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvloop
from fastapi import FastAPI, Response

from app import log
from app.http.auth import Public
from app.main import create_app
from app.settings import Settings
from bench import support

_BLOCK: Final = 500
_WANTED_MS: Final = 0.1
_KINDS: Final = ("bare", "middleware", "with its log line")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    requests: int
    bin_dir: Path | None
    log: Path | None


def parse(arguments: Sequence[str] | None = None) -> tuple[Options, bool]:
    """The options, and whether JSON is wanted."""
    parser = support.parser(__doc__)
    parser.add_argument("--requests", type=int, default=20_000, help="of each kind (default: %(default)s)")
    named = vars(parser.parse_args(arguments))
    as_json: bool = named.pop("json")
    if named.pop("quick"):
        named.update(requests=_BLOCK)
    return Options(**named), as_json


# the application -------------------------------------------------------------------------------------


def _application(*, middleware: bool) -> FastAPI:
    app = create_app(Settings.model_validate({"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}))

    @app.get("/nothing", dependencies=[Public])
    async def nothing() -> Response:
        return Response(status_code=204)

    if not middleware:
        app.user_middleware.clear()
    return app


# the measurement -------------------------------------------------------------------------------------

_Call = Callable[[], Awaitable[None]]


def _caller(app: FastAPI) -> _Call:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 204) == 204, message

    async def call() -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": "/nothing", "raw_path": b"/nothing", "query_string": b"", "root_path": "",
            "headers": [
                (b"host", b"bench"), (b"accept", b"application/json"), (b"user-agent", b"bench/1"),
                (b"authorization", b"Bearer " + b"x" * 60), (b"accept-encoding", b"gzip, deflate"),
            ],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        await app(scope, receive, send)

    return call


async def _block(call: _Call) -> float:
    """Milliseconds of CPU for one request."""
    gc.collect()
    begun = time.process_time()
    for _ in range(_BLOCK):
        await call()
    return (time.process_time() - begun) * 1000 / _BLOCK


async def _measure(options: Options) -> dict[str, Any]:
    calls = {}
    for name in _KINDS:  # an application keeps what the log was when it was made
        log.configure("INFO" if name == "with its log line" else "WARNING", log_format="json")
        calls[name] = _caller(_application(middleware=name != "bare"))
    taken: dict[str, list[float]] = {name: [] for name in _KINDS}
    for number in range(options.requests // _BLOCK + 1):
        for name in sorted(_KINDS, reverse=number % 2 == 1):
            spent = await _block(calls[name])
            if number:  # the first round warms up
                taken[name].append(spent)
    result: dict[str, Any] = {"machine": support.machine(), "server_version": "(none)", "requests": options.requests}
    for name in _KINDS:
        added = [one - other for one, other in zip(taken[name], taken["bare"], strict=True)]
        result[name] = {"ms": support.median(taken[name]), "added_ms": support.median(added), "least_ms": min(added)}
    return result


def measure(options: Options) -> dict[str, Any]:
    """Standard error, where the lines go, is nowhere meanwhile."""
    shown, sys.stderr = sys.stderr, Path(os.devnull).open("w")  # noqa: SIM115 -- until the end
    try:
        return uvloop.run(_measure(options))
    finally:
        sys.stderr.close()
        sys.stderr = shown


def table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield f"{result['requests']} requests of each kind; milliseconds of CPU for one; wanted: {_WANTED_MS} more"
    yield f"{'':<20}{'whole':>9}{'added':>9}{'least':>9}"
    for name in _KINDS:
        one = result[name]
        yield f"{name:<20}{one['ms']:>9.4f}{one['added_ms']:>9.4f}{one['least_ms']:>9.4f}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)
