"""The application in this process, on a port: for those who cannot be handed an application, browsers for one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from tests.support.api import Api
from tests.support.polling import until
from tests.support.ports import free_port


@asynccontextmanager
async def listening(api: Api) -> AsyncIterator[str]:
    """Its URL."""
    port = free_port()
    config = uvicorn.Config(api.app, host="127.0.0.1", port=port, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())

    async def started() -> bool:
        return server.started

    await until(started, within=30, what="the server")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = server.force_exit = True
        await serving
