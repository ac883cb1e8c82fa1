"""SIGTERM outside the servers' own handlers: as process 1 of a container nothing else would end a command."""

import asyncio
import signal

import pytest

from tests.support.processes import background, environment


@pytest.mark.parametrize("arguments", [["serve"], ["worker"], ["upgrade"]], ids=lambda arguments: arguments[0])
async def test_a_command_that_waits_for_its_database_ends_at_once(arguments: list[str]) -> None:
    connected = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"postgresql://u@127.0.0.1:{port}/d?sslmode=disable"
    async with server, background(*arguments, env=environment(url)) as process:
        await asyncio.wait_for(connected.wait(), 20)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 5) == 128 + signal.SIGTERM
