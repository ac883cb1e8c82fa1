"""Command line composition root: opens transactions, calls services."""

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from app.cli import (
    audit,
    catalog,
    config,
    doctor,
    features,
    health,
    integrations,
    isolation,
    keys,
    limits,
    plans,
    repair,
    schema,
    secrets,
    serve,
    tenants,
    transfer,
    webhooks,
)
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
limits.register(cli)
doctor.register(cli)
cli.add_typer(keys.cli, name="api-key", help="API keys: create, list, revoke.")
cli.add_typer(features.cli, name="features", help="A tenant's features: list, enable, disable, reset.")
cli.add_typer(catalog.cli, name="catalog", help="What there is to choose from: features and tiers.")
cli.add_typer(
    repair.tenant, name="tenant", help="One tenant: show, suspend, delete, back up, verify, repair and so on."
)
cli.add_typer(plans.cli, name="plan", help="Plans of destruction: show, approve.")
cli.add_typer(integrations.cli, name="integrations", help="Integrations: list, get, set, delete, check.")
cli.add_typer(secrets.cli, name="secrets", help="Secrets of integrations and webhooks: rotate.")
cli.add_typer(webhooks.cli, name="webhook", help="Webhooks: create, list, delete, test, deliveries, replay.")
cli.add_typer(limits.cli, name="limits", help="Limits: of a tenant, and which there are.")
cli.add_typer(config.cli, name="config", help="A tenant's configuration: get, set, history, rollback.")
cli.add_typer(isolation.cli, name="isolation", help="Whether every tenant is held apart: check.")
cli.add_typer(health.cli, name="health", help="What was collected: fleet, tables, indexes, queries, connections.")
cli.add_typer(audit.cli, name="audit", help="The audit trail: list, export, verify, anchor.")
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
