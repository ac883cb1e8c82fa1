"""bf-admin doctor"""

from collections import Counter
from typing import Final

import typer

from app.cli.failure import Failure
from app.cli.output import Json, emit_json, run, settings
from app.doctor import service
from app.doctor.model import Finding, Look, Report, Status
from app.settings import Settings

_COLOURS: Final = {Status.FAIL: "red", Status.WARN: "yellow", Status.NOT_CHECKED: "magenta", Status.PASS: "green"}

_CONNECTIONS: Final = frozenset({"connection", "application_connection"})


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
    if told := _how(report):
        typer.echo(told, err=True)


def _how(report: Report) -> str:
    """For whom the lines are. Where there is no connection, SQL cannot be meant for this database."""
    lines = {name: finding.mend for name, finding in report.checks.items()}
    here = any(_is_sql(line) for name in lines.keys() - _CONNECTIONS for line in lines[name])
    there = any(_is_sql(line) for name in lines.keys() & _CONNECTIONS for line in lines[name])
    if not here and not there:
        return ""
    shell = any(not _is_sql(line) for shown in lines.values() for line in shown)
    where = "this database" if here else "database postgres of that server"
    return f"SQL is for a superuser, in {where}{'; the other lines are for a shell' if shell else ''}."


def _is_sql(line: str) -> bool:
    return line.endswith(";")


def _explain(finding: Finding, indent: str) -> None:
    if finding.reason:
        typer.echo(f"{indent}{finding.reason}")
    for line in finding.mend:
        label = "look" if isinstance(line, Look) else "mend"
        typer.echo(f"{indent}{typer.style(label, bold=True)}  {line}")
