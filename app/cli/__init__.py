"""Command line composition root: opens transactions, calls services."""

import sys

import typer

from app.cli import keys, schema, serve, tenants
from app.cli.output import fail
from app.db.embedded import EmbeddedError
from app.errors import AppError, Unavailable
from app.schema.script import MigrationFileError

cli = typer.Typer(
    name="bf-admin",
    help="Tenant control plane of APG Budgeting & Forecasting.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
serve.register(cli)
schema.register(cli)
tenants.register(cli)
cli.add_typer(keys.cli, name="api-key", help="API keys: create, list, revoke.")
cli.add_typer(schema.sql, name="sql", help="The same as scripts for psql.")


def main() -> None:
    """Exit codes: 0, 1 (failed), 2 (usage), 3 (partly failed)."""
    try:
        cli()
    except Unavailable as error:
        # The API keeps this to itself; whoever has the DATABASE_URL may know why.
        fail(f"{error}{f' {error.__cause__}' if error.__cause__ else ''}")
    except (AppError, EmbeddedError, MigrationFileError) as error:
        fail(str(error))
    except BrokenPipeError:
        sys.exit(1)
