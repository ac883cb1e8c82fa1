"""bf-admin up, serve, worker"""

import asyncio
import errno
import os
import socket
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any

import typer

from app import keyring
from app.cli.failure import Failure
from app.cli.output import database, settings
from app.db import embedded_setup
from app.db.embedded import Binaries
from app.errors import PrivilegeMissing, Transient, Unavailable
from app.schema import files, startup
from app.schema import upgrade as upgrading
from app.settings import Settings


def register(cli: typer.Typer) -> None:
    cli.command()(up)
    cli.command()(serve)
    cli.command()(worker)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
    with_worker: Annotated[bool, typer.Option("--with-worker", help="Run jobs in this process too.")] = False,
) -> None:
    """Serve HTTP. Jobs are run by `bf-admin worker`, or here with --with-worker."""
    loaded = _with_dsn(settings(service=True))
    _require_port(host, port)
    _run(_serve(loaded, host=host, port=port, with_worker=with_worker, started=lambda: None))


def worker() -> None:
    """Run queued jobs until SIGTERM. Any number of workers may run."""
    loaded = _with_dsn(settings(service=True))
    _run(_work(loaded))


def up(
    data_dir: Annotated[Path | None, typer.Option(help="Where database and keys are kept.")] = None,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8080,
) -> None:
    """Everything in one process on an embedded database: for a first look, and for development."""
    base = settings(service=True)
    _require_port("127.0.0.1", port, mend='--port (make up ARGS="--port …")')
    directory = (data_dir or _default_data_dir()).resolve()
    with embedded_setup.running(directory, Binaries.packaged()) as database_url:
        key_file = base.bootstrap_admin_key_file or directory / "admin-key"
        # The environment is how settings are made, and DATABASE_URL of `up` is the embedded one's.
        os.environ["DATABASE_URL"] = database_url
        os.environ["BF_BOOTSTRAP_ADMIN_KEY_FILE"] = str(key_file)
        if not os.environ.get("BF_SECRET_KEYS") and not os.environ.get("BF_SECRET_KEYS_FILE"):
            keyring.read_or_make(directory / "secret-keys", keyring.new_key)
            os.environ["BF_SECRET_KEYS_FILE"] = str(directory / "secret-keys")
        for other in ("DATABASE_URL_FILE", "BF_DIRECT_DATABASE_URL", "BF_DIRECT_DATABASE_URL_FILE"):
            os.environ.pop(other, None)
        os.environ.setdefault("BF_BACKUP_URL", str(directory / "backups"))
        os.environ.setdefault("BF_DISK_PATH", str(directory))
        loaded = settings(service=True)

        def announce() -> None:
            typer.echo(f"page       http://127.0.0.1:{port}/")
            typer.echo(f"admin key  {key_file.read_text().strip()}")
            typer.echo(f'database   export DATABASE_URL="$(cat {directory / embedded_setup.URL_FILE})"')
            typer.echo("Ctrl-C stops it.")

        _run(_up(loaded, port=port, started=announce))


async def _up(loaded: Settings, *, port: int, started: Callable[[], None]) -> None:
    async with database(loaded) as db:
        outcome = await upgrading.run(db, files.migrations(), files.target(loaded))
    for warning in (*outcome.warnings, *(f"{tenant_id}: {why}" for tenant_id, why in outcome.failed.items())):
        typer.echo(f"warning: {warning}", err=True)
    await _serve(loaded, host="127.0.0.1", port=port, with_worker=True, started=started)


async def _serve(loaded: Settings, *, host: str, port: int, with_worker: bool, started: Callable[[], None]) -> None:
    from app.main import create_app  # FastAPI takes half a second to load: other commands do without
    from app.server import Server

    await _preflight(loaded)
    app = create_app(loaded, with_worker=with_worker)
    server = Server(
        app,
        host=host,
        port=port,
        drain=loaded.drain_timeout,
        head_seconds=loaded.request_timeout,
        started=started,
    )
    await server.run_until_signal()


async def _work(loaded: Settings) -> None:
    from app import worker as working

    await _preflight(loaded)
    await working.run(loaded)


async def _preflight(loaded: Settings) -> None:
    """What cannot be mended by waiting is said before anything listens; a database that is away is waited for."""
    async with database(loaded) as db:
        try:
            await startup.prepare(db, files.migrations(), files.target(loaded))
        except (Unavailable, Transient, PrivilegeMissing):
            return  # the process starts unready, says why, and goes on trying


def _run(work: Coroutine[Any, Any, None]) -> None:
    """On uvloop where there is one: 1.5 times the requests a second of the plain loop (libraries note)."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


def _with_dsn(loaded: Settings) -> Settings:
    try:
        loaded.dsn()
    except ValueError as error:
        raise Failure(str(error), exit_code=2, code="usage") from None
    return loaded


def _require_port(host: str, port: int, *, mend: str = "--port") -> None:
    """Raises Failure where nothing can listen there: before anything is started, and in our own words."""
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"port {port} is in use; choose another with {mend}") from None
        raise Failure(f"cannot listen on {host} port {port}: {error.strerror}; choose --host and --port") from None


def _default_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "apg-bf-tenant-admin"
