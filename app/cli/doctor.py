"""bf-admin doctor"""

from collections import Counter
from typing import Final

import typer

from app.cli.failure import Failure
from app.cli.output import Json, emit_json, run, settings
from app.doctor import service
from app.doctor.model import Finding, Report, Status
from app.settings import Settings

_COLOURS: Final = {Status.FAIL: "red", Status.WARN: "yellow", Status.NOT_CHECKED: "magenta", Status.PASS: "green"}


def register(cli: typer.Typer) -> None:
    cli.command()(doctor)


def doctor(as_json: Json = False) -> None:
    """Check what the service needs of its database, and print what mends each fault. It changes nothing."""
    report = run(_examine(settings()))
    if as_json:
        emit_json({"status": report.status, "checks": {name: _document(f) for name, f in report.checks.items()}})
    else:
        _show(report)
    if report.status is Status.FAIL:
        raise typer.Exit(1)


async def _examine(loaded: Settings) -> Report:
    try:
        return await service.examine(loaded)
    except ValueError as error:
        raise Failure(str(error), exit_code=2, code="usage") from None


def _document(finding: Finding) -> dict[str, str | None]:
    return {
        "status": finding.status,
        "observed": finding.observed or None,
        "reason": finding.reason or None,
        "mend": "\n".join(finding.mend) or None,
    }


def _show(report: Report) -> None:
    """The worst first: what is to be done is read from the top."""
    width = max(map(len, report.checks))
    for status, colour in _COLOURS.items():
        label = typer.style(f"{status.replace('_', ' '):<13}", fg=colour)
        found = {name: finding for name, finding in report.checks.items() if finding.status is status}
        if status is Status.NOT_CHECKED:
            for reason in dict.fromkeys(finding.reason for finding in found.values()):
                typer.echo(f"{label}{reason}: {', '.join(n for n, f in found.items() if f.reason == reason)}")
            continue
        for name, finding in found.items():
            typer.echo(f"{label}{name:<{width}}  {finding.observed}".rstrip())
            _explain(finding, " " * (width + 15))
    counts = Counter(finding.status for finding in report.checks.values())
    typer.echo(", ".join(f"{counts[status]} {status.replace('_', ' ')}" for status in _COLOURS if counts[status]))
    if any(finding.mend for finding in report.checks.values()):
        typer.echo("SQL is for a superuser, in this database; the other lines are for a shell.", err=True)


def _explain(finding: Finding, indent: str) -> None:
    if finding.reason:
        typer.echo(f"{indent}{finding.reason}")
    for line in finding.mend:
        typer.echo(f"{indent}{typer.style('mend', bold=True)}  {line}")
