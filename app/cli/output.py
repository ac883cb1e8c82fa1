"""What commands share: settings, connections, and how they say things."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeAlias, TypeVar

import typer
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from app import log
from app.cli.failure import Failure, usage
from app.db.pool import Database
from app.db.pools import ddl_database
from app.db.translate import NoConnection
from app.doctor.address import Address
from app.doctor.connecting import no_connection
from app.errors import DatabaseError
from app.schema import service
from app.schema import upgrade as upgrading
from app.settings import Settings

T = TypeVar("T")
Json: TypeAlias = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def settings(*, service: bool = False) -> Settings:
    """From the environment. Raises Failure where a variable is wrong, naming it.

    A command says itself what went wrong: unless BF_LOG_LEVEL asks for more, it logs errors only.
    """
    try:
        loaded = Settings()
    except ValidationError as error:
        raise usage({_variable(str(found["loc"][0])): found["msg"] for found in error.errors()}) from None
    quiet = not service and "log_level" not in loaded.model_fields_set
    log.configure("ERROR" if quiet else loaded.log_level, log_format=loaded.log_format)
    return loaded


def _variable(field: str) -> str:
    return field if field.isupper() else f"BF_{field.upper()}"


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


@asynccontextmanager
async def database(loaded: Settings) -> AsyncIterator[Database]:
    """A command's connections. What failed says where it connects, or the statement that grants what is missing."""
    try:
        opened = ddl_database(loaded, application_name="bf-admin cli")
        variable = "DATABASE_URL" if loaded.direct_database_url is None else "BF_DIRECT_DATABASE_URL"
        address = Address.of(variable, loaded.direct_dsn())
    except ValueError as error:
        raise Failure(str(error), exit_code=2, code="usage") from None
    async with _located(address), opened:
        try:
            yield opened
        except DatabaseError as error:
            async with opened.connection() as conn:
                detail = await service.explain(conn, error, create_roles=loaded.create_roles)
            raise Failure(detail, code=error.code, title=error.title) from error


@asynccontextmanager
async def _located(address: Address) -> AsyncIterator[None]:
    """The API tells no stranger where its database is; whoever has the URL may know, and why it is not to be had."""
    try:
        yield
    except NoConnection as error:
        why = no_connection(error, address).reason
        detail = f"cannot connect as {address} ({address.variable}): {why}. bf-admin doctor says what mends it."
        raise NoConnection(detail) from error


def emit_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2, default=to_jsonable_python))


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on a terminal; plain tab-separated lines in a pipe."""
    if not sys.stdout.isatty():
        for row in [columns, *rows]:
            typer.echo("\t".join(row))
        return
    grid = Table(*columns)
    for row in rows:
        grid.add_row(*map(escape, row))  # a name may look like rich's own markup
    Console().print(grid)


@asynccontextmanager
async def progress(label: str) -> AsyncIterator[Callable[[upgrading.Progress], None]]:
    """A bar on a terminal, a line for each step otherwise; both on standard error."""
    if not sys.stderr.isatty():
        yield _line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    # Transient: what remains is what the command says at its end.
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def show(step: upgrading.Progress) -> None:
            if step.total:
                bar.update(task, completed=step.done, total=step.total, description=f"{label} {step.step}")
            else:
                bar.console.print(step.step)

        yield show


def _line(step: upgrading.Progress) -> None:
    position = f" ({step.done} of {step.total})" if step.total else ""
    typer.echo(f"{step.step}{position}", err=True)


def size(count: int) -> str:
    """Of so many bytes, like pg_size_pretty()."""
    value, unit = float(count), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 10240:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}"
