"""Real processes: `bf-admin serve`, `worker` and the rest, started as an operator would."""

import asyncio
import atexit
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import httpx

from tests.support import pooling
from tests.support.cluster import client_program
from tests.support.ports import free_port


def environment(dsn: str, **variables: str) -> dict[str, str]:
    """The shell's environment without its own settings of the service, and with these. Nothing is collected.

    pg_dump is the server's: where it is older, doctor asks apt for a newer one, which takes half a second.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BF_", "DATABASE_URL"))}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    kept["PATH"] = f"{client_program('pg_dump').parent}:{kept['PATH']}"
    ours = {"PYTHONPYCACHEPREFIX": _bytecode(), "BF_COLLECT_INTERVAL": "0"}
    return {**kept, **ours, **pooling.variables(dsn), **variables}


@cache
def _bytecode() -> str:
    """Where every process but the first finds its modules compiled: half a start's time."""
    directory = os.environ.get("PYTHONPYCACHEPREFIX")
    if directory is None:
        directory = tempfile.mkdtemp(prefix="bf-bytecode-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory


@dataclass(frozen=True, slots=True)
class Finished:
    code: int
    stdout: str
    stderr: str


async def bf_admin(*arguments: str, env: dict[str, str], cwd: Path | None = None) -> Finished:
    """Runs a command to its end."""
    return await run(sys.executable, "-m", "app", *arguments, env=env, cwd=cwd)


async def run(*command: str, env: dict[str, str], cwd: Path | None = None, within: float = 60) -> Finished:
    process = await asyncio.create_subprocess_exec(
        *command, env=env, cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    stdout, stderr = await asyncio.wait_for(process.communicate(), within)
    return Finished(process.returncode or 0, stdout.decode(), stderr.decode())


@asynccontextmanager
async def background(
    *arguments: str, env: dict[str, str], stderr: IO[bytes] | None = None, cwd: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bf-admin …` until the block ends; whatever is left of it then is killed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", *arguments, env=env, stderr=stderr, cwd=cwd
    )
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


@dataclass(frozen=True, slots=True)
class Served:
    """A running `bf-admin serve`; `log` is what it has written to standard error."""

    process: asyncio.subprocess.Process
    client: httpx.AsyncClient
    log: Path


@asynccontextmanager
async def logged(
    *arguments: str, env: dict[str, str], log: Path, cwd: Path | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """As background(), with standard error, as JSON lines, in a file."""
    with log.open("ab") as stderr:
        async with background(*arguments, env={**env, "BF_LOG_FORMAT": "json"}, stderr=stderr, cwd=cwd) as process:
            yield process


@asynccontextmanager
async def served(
    *arguments: str, env: dict[str, str], directory: Path, wanted: str = "/readyz", cwd: Path | None = None
) -> AsyncIterator[Served]:
    """`bf-admin serve` whose client has the bootstrap admin key, kept in `directory`; `wanted` answers 200.

    `cwd` is where another release is.
    """
    port, key_file = free_port(), directory / "admin-key"
    log = directory / f"serve-{port}.log"
    env = {**env, "BF_BOOTSTRAP_ADMIN_KEY_FILE": str(key_file)}
    async with (
        logged("serve", "--port", str(port), *arguments, env=env, log=log, cwd=cwd) as process,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=40) as client,
    ):
        await answers(client, wanted, process=process)
        if key_file.exists():
            client.headers["Authorization"] = f"Bearer {key_file.read_text().strip()}"
        yield Served(process, client, log)


async def answers(
    client: httpx.AsyncClient, path: str, *, process: asyncio.subprocess.Process | None = None, within: float = 60
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
