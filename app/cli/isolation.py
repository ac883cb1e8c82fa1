"""bf-admin isolation check"""

import typer

from app.cli.installed import installed
from app.cli.output import Json, emit_json, run, settings
from app.isolation import service
from app.isolation.model import Report
from app.isolation.schemas import IsolationOut
from app.schema import files
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True)


@cli.command("check")
def check(as_json: Json = False) -> None:
    """Look now who may get around row-level security, and where it is not what it must be.

    Exit code 1: somebody may reach what is not theirs.
    """
    report = run(_check(settings()))
    if as_json:
        emit_json(IsolationOut.of(report).model_dump(mode="json"))
    else:
        _show(report)
    if not report.safe:
        raise typer.Exit(1)


async def _check(loaded: Settings) -> Report:
    async with installed(loaded) as db:
        return await service.check(db, files.target(loaded))


def _show(report: Report) -> None:
    for fault in report.faults:
        typer.echo(f"{fault.kind}: {fault.reason}\n  mend  {fault.mend}")
    if report.fault_count > len(report.faults):
        typer.echo(f"… and {report.fault_count - len(report.faults)} more")
    told = f"{report.fault_count} faults" if report.fault_count else "No fault"
    typer.echo(f"{told} in {report.tenants} tenants, {report.duration_ms} ms.")
