"""bf-admin secrets rotate"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from app.cli.installed import installed
from app.cli.lifecycle import origin
from app.cli.output import Json, emit_json, run, settings
from app.settings import Settings

if TYPE_CHECKING:
    from uuid import UUID

    from app.integrations.rotation import Rotated

cli = typer.Typer(no_args_is_help=True)


@cli.callback()
def group() -> None:
    """Secrets of integrations and webhooks."""


@cli.command("rotate")
def rotate(as_json: Json = False) -> None:
    """Encrypt every secret under the first key of BF_SECRET_KEYS. Exit code 3 where some can be decrypted by none."""
    loaded = settings()
    done = run(_rotate(loaded))
    if as_json:
        unreadable = [
            {"tenant_id": one.tenant_id, "capability": one.capability, "name": one.name, "reason": one.reason}
            for one in done.unreadable
        ]
        emit_json({"rotated": done.rotated, "current": done.current, "unreadable": unreadable})
    else:
        typer.echo(f"{done.rotated} encrypted under the first key, {done.current} were already.")
    for one in done.unreadable:
        typer.echo(f"bf-admin: {one.tenant_id} {one.capability} {one.name} cannot be decrypted: {one.reason}", err=True)
    if done.unreadable:
        raise typer.Exit(3)


async def _rotate(loaded: Settings) -> "Rotated":
    from app.integrations import rotation
    from app.webhooks import service as webhooks

    keyring = loaded.keyring()
    async with installed(loaded) as db:
        with _progress() as show:
            done = await rotation.rotate(db, keyring, origin=origin(), progress=show)
        async with db.transaction() as conn:
            return _together(done, *await webhooks.reencrypt(conn, keyring))


def _together(done: "Rotated", rotated: int, current: int, unreadable: "list[tuple[UUID, str]]") -> "Rotated":
    """With the secrets of webhooks, which have no tenant."""
    from app.integrations.rotation import Unreadable

    others = [
        Unreadable(tenant_id="", capability="webhook", name=str(webhook), reason=reason)
        for webhook, reason in unreadable
    ]
    return replace(
        done,
        rotated=done.rotated + rotated,
        current=done.current + current,
        unreadable=(*done.unreadable, *others),
    )


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, a line for each batch otherwise; both on standard error."""
    if not sys.stderr.isatty():
        yield lambda done, total: typer.echo(f"secrets ({done} of {total})", err=True)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("secrets", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
