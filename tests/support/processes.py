"""Real processes: `bf-admin serve`, `worker` and the rest, started as an operator would."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx


def environment(dsn: str, **variables: str) -> dict[str, str]:
    """The shell's environment without its BF_* variables, and with these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BF_")}
    return {**kept, "DATABASE_URL": dsn, **variables}


@dataclass(frozen=True, slots=True)
class Finished:
    code: int
    stdout: str
    stderr: str


async def bf_admin(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> Finished:
    """Runs a command to its end."""
    return await run(sys.executable, "-m", "app", *arguments, env=env, cwd=cwd)


async def run(*command: str, env: dict[str, str], cwd: Path | None = None) -> Finished:
    process = await asyncio.create_subprocess_exec(
        *command, env=env, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), 60)
    return Finished(process.returncode or 0, stdout.decode(), stderr.decode())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def background(*arguments: str, env: dict[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bf-admin …` until the block ends; whatever is left of it then is killed."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "app", *arguments, env=env)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


@asynccontextmanager
async def serving(*arguments: str, env: dict[str, str], ready: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    """`bf-admin serve` on a free port; answers when it is handed out, and is ready unless that is not wanted."""
    port = free_port()
    async with (
        background("serve", "--port", str(port), *arguments, env=env) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=40) as client,
    ):
        await answers(client, "/readyz" if ready else "/livez", process=process)
        yield client


async def answers(
    client: httpx.AsyncClient, path: str, *, process: asyncio.subprocess.Process | None = None, within: float = 20
) -> None:
    """Raises TimeoutError unless the path answers 200 within so many seconds."""
    async with asyncio.timeout(within):
        while True:
            if process is not None and process.returncode is not None:
                raise RuntimeError(f"bf-admin ended with {process.returncode}")
            try:
                if (await client.get(path)).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
