"""bf-admin top"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from app.cli.output import database, run, settings, size
from app.cli.status import operation_rows, tenants_line
from app.health.fleet import Busy, By, FleetNow
from app.settings import Settings

if TYPE_CHECKING:
    from app.db.pool import Database
    from app.health.model import Finding

_STYLES = {"fail": "bold red", "warn": "yellow", "pass": "green"}


def register(cli: typer.Typer) -> None:
    cli.command()(top)


def top(
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.5, max=3600)] = 2.0,
    by: Annotated[By, typer.Option(help="Which tenants come first.")] = By.SIZE,
    tenants: Annotated[int, typer.Option(help="How many of them.", min=1, max=100)] = 15,
) -> None:
    """Watch the service: its checks, what runs, and the busiest tenants. q or Ctrl-C ends it.

    Without a terminal, one look is printed.
    """
    run(_top(settings(), every=every, by=by, tenants=tenants))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """Without a fleet where the database does not answer."""

    findings: "dict[str, Finding]"
    fleet: FleetNow | None
    busiest: list[Busy]
    by: By


async def _top(loaded: Settings, *, every: float, by: By, tenants: int) -> None:
    console = Console()
    async with database(loaded) as db:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            console.print(_drawn(await _look(loaded, db, by, tenants)))
            return
        with _keys() as ended, Live(console=console, screen=True, auto_refresh=False) as live:
            while not ended.is_set():
                live.update(_drawn(await _look(loaded, db, by, tenants)), refresh=True)
                await _pause(ended, every)


async def _look(loaded: Settings, db: "Database", by: By, limit: int) -> _Frame:
    from app.errors import AppError
    from app.health import checks, fleet, summary
    from app.schema import files, script

    thresholds = summary.thresholds_of(loaded)
    reading = await summary.read(db, thresholds)
    found = checks.of_reading(reading, thresholds, latest=script.latest(files.migrations()), pool=None)
    if reading.seen is None:
        return _Frame(findings=found, fleet=None, busiest=[], by=by)
    try:
        async with db.connection() as conn:
            now, busiest = await fleet.now(conn), await fleet.busiest(conn, by, limit=limit)
    except AppError:  # it went between the two looks; the next one says so
        return _Frame(findings=found, fleet=None, busiest=[], by=by)
    return _Frame(findings=found, fleet=now, busiest=busiest, by=by)


# what is drawn ---------------------------------------------------------------------------------------


def _drawn(frame: _Frame) -> Group:
    from app.health.checks import attention, worst

    verdict = worst(frame.findings)
    parts: list[Text | Table] = [Text(f"bf-admin top   {verdict}", style=_STYLES[verdict])]
    parts += [
        Text(f"{finding.status}  {name}: {finding.reason}", style=_STYLES[finding.status])
        for name, finding in attention(frame.findings)
    ]
    queue = frame.findings.get("queue_depth")
    if frame.fleet is not None:
        waiting = "" if queue is None else f"; {queue.observed} jobs wait"
        parts += [Text(f"\n{tenants_line(frame.fleet)}{waiting}\n"), _operations(frame.fleet), _busiest(frame)]
    return Group(*parts)


def _operations(fleet: FleetNow) -> Table:
    grid = Table("operation", "kind", "tenant", "status", "since (UTC)", "progress", title="Operations", expand=True)
    for row in operation_rows(fleet.unfinished):
        grid.add_row(*map(escape, row))
    return grid


def _busiest(frame: _Frame) -> Table:
    grid = Table(title=f"Tenants by {frame.by.replace('_', ' ')}", expand=True)
    grid.add_column("tenant")
    for name in ("size", "grown in an hour", "rows", "dead rows", "seen (UTC)"):
        grid.add_column(name, justify="right")
    for one in frame.busiest:
        figures = (size(one.total_bytes), size(one.grown), f"{one.live_rows}", f"{one.dead_rows}")
        grid.add_row(escape(one.tenant_id), *figures, f"{one.taken_at:%H:%M:%S}")
    return grid


# the terminal ----------------------------------------------------------------------------------------


@contextmanager
def _keys() -> Iterator[asyncio.Event]:
    """Set once q was pressed, or Ctrl-C."""
    import termios
    import tty

    ended, loop, terminal = asyncio.Event(), asyncio.get_running_loop(), sys.stdin.fileno()

    def pressed() -> None:
        if b"q" in os.read(terminal, 64).lower():
            ended.set()

    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal, termios.TCSANOW)
    loop.add_reader(terminal, pressed)
    loop.add_signal_handler(signal.SIGINT, ended.set)
    try:
        yield ended
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_reader(terminal)
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


async def _pause(ended: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await ended.wait()
    except TimeoutError:
        return
