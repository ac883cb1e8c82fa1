"""bf-admin status"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from app.cli.output import Json, database, emit_json, run, settings, table
from app.release import release
from app.settings import Settings

if TYPE_CHECKING:
    from app.health.fleet import FleetNow
    from app.health.model import Finding
    from app.operations.model import Operation

_COLOURS: Final = {"fail": "red", "warn": "yellow", "pass": "green"}


def register(cli: typer.Typer) -> None:
    cli.command()(status)


def status(as_json: Json = False) -> None:
    """Show how the service is: one verdict, what needs attention first, tenants, and what runs.

    It changes nothing. Exit code 1: it fails.
    """
    found, fleet = run(_look(settings()))
    if as_json:
        emit_json(_document(found, fleet))
    else:
        _show(found, fleet)
    if _worst(found) == "fail":
        raise typer.Exit(1)


async def _look(loaded: Settings) -> tuple[dict[str, "Finding"], "FleetNow | None"]:
    """Without a fleet where the database does not answer: that is a check like any other."""
    from app.health import checks, fleet, summary
    from app.schema import files, script

    async with database(loaded) as db:
        thresholds = summary.thresholds_of(loaded)
        reading = await summary.read(db, thresholds)
        found = checks.of_reading(reading, thresholds, latest=script.latest(files.migrations()), pool=None)
        if reading.seen is None:
            return found, None
        async with db.connection() as conn:
            return found, await fleet.now(conn)


def _worst(found: dict[str, "Finding"]) -> str:
    from app.health.checks import worst

    return worst(found)


def _document(found: dict[str, "Finding"], fleet: "FleetNow | None") -> dict[str, Any]:
    """As /health, and the fleet."""
    from app.health.schemas import HealthSummary
    from app.operations.schemas import OperationOut

    told = HealthSummary.of(found, release=release()).model_dump(mode="json", exclude_unset=True)
    if fleet is None:
        return {**told, "tenants": None, "operations": None}
    return {
        **told,
        "tenants": {"by_state": fleet.states, "by_schema_version": fleet.versions},
        "operations": [OperationOut.of(one).model_dump(mode="json") for one in fleet.unfinished],
    }


def _show(found: dict[str, "Finding"], fleet: "FleetNow | None") -> None:
    """What needs attention first is read from the top."""
    from app.health.checks import attention

    width = max(map(len, found))
    for name, finding in attention(found):
        typer.echo(f"{_label(finding.status)}{name:<{width}}  {finding.reason}")
    passed = [name for name, finding in found.items() if finding.status == "pass"]
    typer.echo(f"{_label('pass')}{', '.join(passed) or 'nothing'}")
    if fleet is not None:
        typer.echo(f"\n{tenants_line(fleet)}")
        if fleet.unfinished:
            typer.echo()
            table(["operation", "kind", "tenant", "status", "since", "progress"], operation_rows(fleet.unfinished))
        else:
            typer.echo("no operation runs or waits")


def _label(level: str) -> str:
    return typer.style(f"{level:<6}", fg=_COLOURS[level])


def tenants_line(fleet: "FleetNow") -> str:
    states = ", ".join(f"{count} {state}" for state, count in fleet.states.items())
    versions = ", ".join(f"{count} at version {version}" for version, count in sorted(fleet.versions.items()))
    told = "; ".join(part for part in (states, versions) if part)
    return f"{fleet.tenants} tenants" + (f": {told}" if told else "")


def operation_rows(operations: "Sequence[Operation]") -> list[list[str]]:
    rows = []
    for one in operations:
        progress = "" if one.progress is None else f"{one.progress.done}/{one.progress.total}"
        since = one.started_at or one.created_at
        rows.append([str(one.id), one.kind, one.tenant_id or "", one.status, f"{since:%Y-%m-%d %H:%M:%S}", progress])
    return rows
