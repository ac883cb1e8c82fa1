"""What authentication adds to a request: a route that needs a role against the same route declared public.

The application with two routes more, alike but for what they declare, is called in this process, as uvicorn calls it.
Counted is the process's CPU over blocks of requests, in turn, so that what the machine does meanwhile falls on all
alike; all send the same headers. An access token is met for the first time (its signature is computed), or again.

    python -m bench authentication               # a minute
    python -m bench authentication --requests 2000
"""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx
import uvloop
from fastapi import FastAPI, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

from app import log
from app.apikeys.model import Role
from app.apikeys.service import Keys
from app.db.pool import Database
from app.http.auth import CurrentViewer, Public
from app.main import create_app
from app.settings import Settings
from app.tokens.provider import Provider
from app.tokens.verifier import Verifier
from bench import support

_ISSUER: Final = "https://issuer.example"
_BLOCK: Final = 500
_WANTED: Final = {"API key": 0.06, "access token, again": 0.12, "access token, first time": 0.12}


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


def _application(dsn: str) -> FastAPI:
    app = create_app(Settings.model_validate({"DATABASE_URL": dsn, "log_level": "WARNING"}))

    @app.get("/public", dependencies=[Public])
    async def public() -> Response:
        return Response(status_code=204)

    @app.get("/guarded")
    async def guarded(_: CurrentViewer) -> Response:
        return Response(status_code=204)

    return app


def _verifier(key: RSAKey) -> Verifier:
    """Of an issuer that is no process: its keys are fetched once, and not measured."""
    documents: dict[str, Any] = {
        "/.well-known/openid-configuration": {"issuer": _ISSUER, "jwks_uri": f"{_ISSUER}/jwks"},
        "/jwks": {"keys": [key.as_dict(private=False)]},
    }
    provider = Provider.of(Settings.model_validate({"oidc_issuer": _ISSUER, "oidc_audience": "bench"}))
    assert provider is not None
    transport = httpx.MockTransport(lambda request: httpx.Response(200, json=documents[request.url.path]))
    return Verifier(provider, transport=transport)


def _token(key: RSAKey, number: int) -> str:
    now = int(time.time())
    claims = {"iss": _ISSUER, "aud": "bench", "sub": "someone", "jti": str(number), "iat": now, "exp": now + 3600}
    claims["roles"] = ["viewer"]
    return jwt.encode({"alg": "RS256", "typ": "at+jwt", "kid": key.kid}, claims, key, algorithms=["RS256"])


# the measurement -------------------------------------------------------------------------------------


_Call = Callable[[str, str], Awaitable[None]]


def _caller(app: FastAPI) -> _Call:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        assert message.get("status", 204) == 204, message

    async def call(path: str, credential: str) -> None:
        scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(b"host", b"bench"), (b"authorization", b"Bearer " + credential.encode())],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
        }  # fmt: skip
        await app(scope, receive, send)

    return call


async def _block(call: _Call, path: str, credentials: Sequence[str]) -> float:
    """Milliseconds of CPU for one request."""
    gc.collect()
    await asyncio.sleep(0.01)  # a call waits for nothing: what else this loop has to do is done before the clock runs
    begun = time.process_time()
    for credential in credentials:
        await call(path, credential)
    return (time.process_time() - begun) * 1000 / len(credentials)


async def _measure(dsn: str, options: Options) -> dict[str, Any]:
    app = _application(dsn)
    key = RSAKey.generate_key(2048, {"kid": "bench"})
    async with Database(dsn, max_size=1) as database, database.transaction() as conn:
        new = await Keys("").create(conn, name="bench", role=Role.VIEWER, created_by="bench")
        version = await conn.fetchval("SHOW server_version")
    taken: dict[str, list[float]] = {"public": [], **{name: [] for name in _WANTED}}
    async with app.router.lifespan_context(app):
        await app.state.services.readiness.wait()
        app.state.services = replace(app.state.services, access_tokens=_verifier(key))
        call, again = _caller(app), _token(key, 0)
        for credential in (new.key, again):
            await _block(call, "/guarded", [credential] * _BLOCK)
        for number in range(options.requests // _BLOCK):
            fresh = [_token(key, number * _BLOCK + n) for n in range(1, _BLOCK + 1)]
            credentials = {
                "public": [new.key] * _BLOCK,
                "API key": [new.key] * _BLOCK,
                "access token, again": [again] * _BLOCK,
                "access token, first time": fresh,
            }
            for name in sorted(credentials, reverse=number % 2 == 1):
                path = "/public" if name == "public" else "/guarded"
                taken[name].append(await _block(call, path, credentials[name]))
    public = support.median(taken["public"])
    result: dict[str, Any] = {"machine": support.machine(), "server_version": version, "requests": options.requests}
    for name, wanted in _WANTED.items():
        added = [one - other for one, other in zip(taken[name], taken["public"], strict=True)]
        result[name] = {"wanted_ms": wanted, "public_ms": public, "guarded_ms": support.median(taken[name])}
        result[name] |= {"added_ms": support.median(added), "least_ms": min(added), "p95_ms": support.p95(added)}
    return result


def measure(options: Options) -> dict[str, Any]:
    log.configure("WARNING", log_format="json")
    with support.scratch() as root, support.private_server(root / "server", options.bin_dir) as server:
        return uvloop.run(_measure(server.dsn, options))


def table(result: dict[str, Any]) -> Iterator[str]:
    yield support.heading(result)
    yield f"{result['requests']} requests of each kind; milliseconds of CPU for one"
    yield f"{'':<26}{'wanted':>8}{'public':>9}{'guarded':>9}{'added':>9}{'least':>9}{'p95':>9}"
    for name in _WANTED:
        one = result[name]
        fields = ("public_ms", "guarded_ms", "added_ms", "least_ms", "p95_ms")
        cells = "".join(f"{one[field]:>9.4f}" for field in fields)
        yield f"{name:<26}{one['wanted_ms']:>8.2f}{cells}"


def main(arguments: Sequence[str] | None = None) -> None:
    options, as_json = parse(arguments)
    result = measure(options)
    support.report(result, table(result), as_json=as_json)
