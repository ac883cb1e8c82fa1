"""Both flavours of the client behind one interface, a service that answers as told, and a line that breaks."""

import asyncio
import inspect
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import httpx
import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from app.client._sync.pages import Pages
from tests.support.polling import until
from tests.support.processes import free_port

_END = object()


def _is_paged(call: Callable[..., Any]) -> bool:
    """What returns an iterator of pages asks for nothing yet."""
    return "Pages[" in str(getattr(call, "__annotations__", {}).get("return"))


class InThread:
    """A sync client, or a part of it, as if it were the async one: what would block runs in a thread."""

    def __init__(self, target: Any) -> None:
        self._target = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, {"aclose": "close"}.get(name, name))
        if not inspect.isroutine(value):
            return InThread(value) if type(value).__module__.startswith("app.client._sync") else value
        if inspect.isgeneratorfunction(value) or name == "traced" or _is_paged(value):
            return lambda *args, **kwargs: InThread(value(*args, **kwargs))
        return lambda *args, **kwargs: asyncio.to_thread(value, *args, **kwargs)

    async def __aiter__(self) -> AsyncIterator[Any]:
        iterator = iter(self._target)
        while (item := await asyncio.to_thread(next, iterator, _END)) is not _END:
            yield item

    def __repr__(self) -> str:
        return repr(self._target)


assert inspect.isgeneratorfunction(Pages.pages), "what decides in InThread whether a call blocks"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived, its path still quoted; `at` is the monotonic clock's."""

    method: str
    path: str
    query: dict[str, str]
    headers: httpx.Headers
    body: bytes
    at: float


@dataclass(slots=True)
class Scripted:
    """A service that gives its answers in order, and remembers what it was asked. The last answer stays."""

    url: str
    answers: deque[Response] = field(default_factory=deque)
    seen: list[Seen] = field(default_factory=list)

    def answer(self, *answers: Response) -> None:
        self.answers.extend(answers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.seen.append(
            Seen(
                method=request.method,
                path=scope["raw_path"].decode(),
                query=dict(request.query_params),
                headers=httpx.Headers(request.headers.raw),
                body=await request.body(),
                at=time.monotonic(),
            )
        )
        answer = self.answers.popleft() if len(self.answers) > 1 else self.answers[0]
        await answer(scope, receive, send)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the test runner's."""
        yield


@asynccontextmanager
async def scripted(port: int | None = None, *answers: Response) -> AsyncIterator[Scripted]:
    port = port or free_port()
    app = Scripted(f"http://127.0.0.1:{port}", deque(answers))
    server = _Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, lifespan="off"))
    running = asyncio.create_task(server.serve())
    try:
        await until(_started(server), what="the start of the scripted service")
        yield app
    finally:
        server.should_exit = True
        await running


def _started(server: uvicorn.Server) -> Callable[[], Awaitable[bool]]:
    async def look() -> bool:
        return server.started

    return look


@dataclass(slots=True)
class _Fault:
    marker: bytes
    forward: bool


class Proxy:
    """TCP, to a service at `port`. Faults are used up in order, each by the first answer that holds its marker."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.faults: deque[_Fault] = deque()
        self.url = ""
        self._open: set[asyncio.Task[None]] = set()

    def lose(self, marker: bytes) -> None:
        """The connection is cut instead of handing this on: the request was done, and nobody knows."""
        self.faults.append(_Fault(marker, forward=False))

    def cut_after(self, marker: bytes) -> None:
        self.faults.append(_Fault(marker, forward=True))

    async def stop(self) -> None:
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._open.add(connection)
        connection.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, service = await asyncio.open_connection("127.0.0.1", self._port)
        pumps = [
            asyncio.create_task(_requests(reader, service)),
            asyncio.create_task(self._answers(upstream, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            service.transport.abort()
            writer.transport.abort()

    async def _answers(self, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await upstream.read(65536):
            fault = self.faults[0] if self.faults and self.faults[0].marker in data else None
            if fault is None or fault.forward:
                writer.write(data)
                await writer.drain()
            if fault is not None:
                self.faults.popleft()
                # What was forwarded is to arrive before the end does.
                await asyncio.sleep(0.05)
                return


async def _requests(reader: asyncio.StreamReader, service: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        service.write(data)
        await service.drain()


@asynccontextmanager
async def broken_line(to: str) -> AsyncIterator[Proxy]:
    proxy = Proxy(httpx.URL(to).port or 80)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()


def tenant(tenant_id: str = "acme_corp", **others: Any) -> dict[str, Any]:
    """As the service writes one."""
    return {
        "tenant_id": tenant_id,
        "tenant_name": "ACME",
        "state": "active",
        "is_active": True,
        "schema_name": f"bf_{tenant_id}",
        "schema_version": 1,
        "subscription_tier": "standard",
        "billing_contact": None,
        "generation": 1,
        "created_at": "2025-01-01T00:00:00Z",
        "updated_at": "2025-01-01T00:00:00Z",
        "created_by": "tests",
        "last_operation": None,
        "error": None,
        **others,
    }


def operation(status: str = "running", **others: Any) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "kind": "tenant.provision",
        "tenant_id": "acme_corp",
        "status": status,
        "created_at": "2025-01-01T00:00:00Z",
        "started_at": None,
        "finished_at": None,
        "attempts": 1,
        "steps": [],
        "result": None,
        "error": None,
        **others,
    }


def answer(body: Any, status: int = 200, **headers: str) -> Response:
    return JSONResponse(body, status, {name.replace("_", "-"): value for name, value in headers.items()})


def refusal(status: int, code: str = "unavailable", **headers: str) -> Response:
    body = {"type": "about:blank", "title": "No", "status": status, "detail": "Not now.", "code": code}
    return JSONResponse(
        body,
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        media_type="application/problem+json",
    )
