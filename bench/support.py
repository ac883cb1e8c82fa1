"""What the measurements share: a private server, the service's processes, options, statistics."""

import argparse
import asyncio
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from app.db import embedded_setup
from app.db.embedded import SUPERUSER, Binaries, EmbeddedServer

PATIENCE: Final = 60.0  # seconds for anything to start or to answer


# options and output ----------------------------------------------------------------------------------


def parser(description: str | None) -> argparse.ArgumentParser:
    """With the options that every measurement has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--bin-dir", type=Path, help="PostgreSQL's programs (default: the embedded ones)")
    made.add_argument("--log", type=Path, help="file for what the service logs")
    made.add_argument("--json", action="store_true", help="one JSON document on standard output")
    made.add_argument("--quick", action="store_true", help="a smoke run: its figures mean nothing")
    return made


def report(result: dict[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    print(json.dumps(result, indent=2) if as_json else "\n".join(lines))


def machine() -> dict[str, Any]:
    return {"cpus": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def heading(result: dict[str, Any]) -> str:
    cpus, system, python = (result["machine"][name] for name in ("cpus", "system", "python"))
    return f"PostgreSQL {result['server_version']}, Python {python}, {cpus} CPUs, {system}"


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def p95(values: Iterable[float]) -> float:
    taken = sorted(values)
    return taken[min(len(taken) - 1, int(len(taken) * 0.95))]


# the server ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running PostgreSQL with the schema installed. `dsn` is the migration user's."""

    dsn: str
    superuser_dsn: str
    postmaster: int
    log: Path


@contextmanager
def private_server(directory: Path, bin_dir: Path | None) -> Iterator[Server]:
    """Private to the run, as durable as PostgreSQL's defaults make it, and gone with the block."""
    binaries = Binaries.packaged() if bin_dir is None else Binaries.at(bin_dir)
    server = EmbeddedServer(directory, binaries=binaries)
    try:
        with embedded_setup.running(directory, binaries) as dsn:
            server.start()  # it runs: this learns its port and password
            subprocess.run(bf_admin("upgrade"), env=environment(dsn), check=True, stdout=subprocess.DEVNULL)
            yield Server(
                dsn=dsn,
                superuser_dsn=server.url(
                    user=SUPERUSER, password=server.superuser_password, database=dsn.rpartition("/")[2]
                ),
                postmaster=int((directory / "postgres" / "postmaster.pid").read_text().split()[0]),
                log=directory / "server.log",
            )
            server.stop("immediate")  # any other way first syncs the files of every tenant
    finally:
        server.destroy()


@contextmanager
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bf-bench-") as name:
        yield Path(name)


# the service -----------------------------------------------------------------------------------------


def bf_admin(*arguments: str) -> list[str]:
    return [str(Path(sys.executable).with_name("bf-admin")), *arguments]


def environment(dsn: str | None = None, **variables: str) -> dict[str, str]:
    """Without the caller's BF_* variables: the run is one with default settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BF_")}
    return {**kept, **({} if dsn is None else {"DATABASE_URL": dsn}), **variables}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(*arguments: str, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`bf-admin …` until the block ends, and then stopped as an operator would stop it."""
    with log.open("ab") as output:
        process = subprocess.Popen(bf_admin(*arguments), env=env, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def require_running(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises RuntimeError, with the end of its log, where the process has ended."""
    if process.poll() is not None:
        raise RuntimeError(f"bf-admin ended with {process.returncode}: {log}\n{log.read_text()[-2000:]}")


async def until(look: Callable[[], Any], *, every: float = 0.01) -> None:
    """Until `look`, which may be a coroutine function, says yes. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while True:
            found = look()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(every)


async def ready(url: str, process: subprocess.Popen[bytes], *, log: Path, every: float = 0.01) -> None:
    """Returns at the first 200 of /readyz. Raises RuntimeError where the process ends before."""
    async with httpx.AsyncClient() as client:

        async def answers() -> bool:
            require_running(process, log)
            try:
                return (await client.get(f"{url}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(answers, every=every)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One API process and its workers; `client` presents an admin key."""

    api: subprocess.Popen[bytes]
    workers: tuple[subprocess.Popen[bytes], ...]
    client: httpx.AsyncClient


@asynccontextmanager
async def service(
    dsn: str, directory: Path, *, workers: int = 1, one_process: bool = False, log: Path | None = None
) -> AsyncIterator[Service]:
    """API and workers with default settings, each a process of its own; ready."""
    log = log or directory / "service.log"
    key_file, port = directory / "key", free_port()
    env = environment(dsn, BF_BOOTSTRAP_ADMIN_KEY_FILE=str(key_file))
    url = f"http://127.0.0.1:{port}"
    together = ["--with-worker"] if one_process else []
    with ExitStack() as processes:
        api = processes.enter_context(running("serve", "--port", str(port), *together, env=env, log=log))
        await ready(url, api, log=log)
        started = [processes.enter_context(running("worker", env=env, log=log)) for _ in range(workers)]
        headers = {"Authorization": f"Bearer {key_file.read_text().strip()}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE) as client:
            yield Service(api=api, workers=tuple(started), client=client)


async def provision(client: httpx.AsyncClient, tenant_id: str) -> float:
    """POST, waiting until the tenant is active; returns milliseconds."""
    begun = time.perf_counter()
    answer = await client.post(
        "/v1/tenants", json={"tenant_id": tenant_id, "tenant_name": "Bench"}, headers={"Prefer": "wait=30"}
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["state"] == "active", answer.text
    return (time.perf_counter() - begun) * 1000


async def at_once(tenant_ids: Sequence[str], makers: Sequence[Callable[[str], Any]]) -> list[float]:
    """Every tenant by whichever maker is free next; returns what each maker did."""
    waiting = iter(tenant_ids)
    taken: list[float] = []

    async def work(make: Callable[[str], Any]) -> None:
        for tenant_id in waiting:
            taken.append(await make(tenant_id))

    async with asyncio.TaskGroup() as group:
        for make in makers:
            group.create_task(work(make))
    return taken
