"""Command line composition root: opens transactions, calls services."""

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from app.cli import doctor, keys, lifecycle, schema, serve, tenants, transfer
from app.cli.failure import Commands, Failure
from app.db.embedded import EmbeddedError
from app.errors import AppError
from app.schema.script import MigrationFileError

cli = typer.Typer(
    name="bf-admin",
    cls=Commands,
    help="Tenant control plane of APG Budgeting & Forecasting.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
serve.register(cli)
schema.register(cli)
tenants.register(cli)
transfer.register(cli)
doctor.register(cli)
cli.add_typer(keys.cli, name="api-key", help="API keys: create, list, revoke.")
cli.add_typer(lifecycle.cli, name="tenant", help="One tenant: show, suspend, resume, delete, restore.")
cli.add_typer(schema.sql, name="sql", help="The same as scripts for psql.")


def _version(asked: bool) -> None:
    if not asked:
        return
    try:
        typer.echo(f"bf-admin {version('apg-bf-tenant-admin')}")
    except PackageNotFoundError:
        typer.echo("bf-admin 0+unknown")
    raise typer.Exit


@cli.callback()
def options(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which and end.")] = False,
) -> None:
    """Tenant control plane of APG Budgeting & Forecasting."""


def main() -> None:
    """Exit codes: 0, 1 (failed), 2 (usage), 3 (partly failed)."""
    try:
        cli()
    except (Failure, AppError, EmbeddedError, MigrationFileError) as error:
        Failure.of(error).end()
    except BrokenPipeError:
        sys.exit(1)
