"""The HTTP server process: uvicorn, and what its signals mean to those who wait."""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

import uvicorn
from fastapi import FastAPI

from app.main import Services


def _protocol(head_seconds: float) -> type[asyncio.Protocol] | Literal["h11"]:
    """Where there is no httptools, h11 bounds a head by itself."""
    if sys.platform == "win32":
        return "h11"
    from app.protocol import bounded

    return bounded(head_seconds)


class Server(uvicorn.Server):
    """On a signal, requests that wait for an operation are answered at once; `started` runs once ready."""

    def __init__(
        self,
        app: FastAPI,
        *,
        host: str,
        port: int,
        drain: float,
        head_seconds: float,
        started: Callable[[], None],
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                host=host,
                port=port,
                log_config=None,
                access_log=False,
                server_header=False,
                http=_protocol(head_seconds),
                timeout_graceful_shutdown=max(1, round(drain)),
            )
        )
        self._app = app
        self._announce = started

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn raises the signal again after its shutdown, which would end the process before ours."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        services: Services | None = getattr(self._app.state, "services", None)
        if services is not None:
            services.release()
        super().handle_exit(sig, frame)

    async def run_until_signal(self) -> None:
        """Raises whatever made the start hopeless, once everything is stopped."""
        await self.serve()
        services: Services | None = getattr(self._app.state, "services", None)
        if services is not None and services.readiness.failure is not None:
            raise services.readiness.failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._announcing = asyncio.create_task(self._announce_when_ready())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._announcing.cancel()
        await super().shutdown(sockets)

    async def _announce_when_ready(self) -> None:
        await self._app.state.services.readiness.wait()
        self._announce()
