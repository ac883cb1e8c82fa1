"""bf-admin api-key create, list, rotate, revoke"""

import re
from datetime import datetime, timedelta
from typing import Annotated

import typer

from app.access import service
from app.access.service import KeyRequest
from app.apikeys import queries
from app.apikeys.model import ApiKey, Role
from app.apikeys.service import Keys, NewKey
from app.cli.installed import installed
from app.cli.lifecycle import origin
from app.cli.output import Json, database, emit_json, run, settings, table
from app.schema import files, startup
from app.settings import Settings

cli = typer.Typer(no_args_is_help=True)
_ROLES = (
    "What it may do: admin all, operator all but what destroys and keys, viewer reads. "
    "reader evaluates features, and reads the configuration of its --tenant; auditor and metrics stand alone."
)
_UNITS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def _duration(text: str) -> timedelta:
    match = re.fullmatch(r"([1-9]\d{0,5})([mhd])", text)
    if match is None:
        raise typer.BadParameter("write 30d, 12h or 45m")
    return int(match[1]) * _UNITS[match[2]]


@cli.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")],
    role: Annotated[Role, typer.Option(help=_ROLES)],
    tenant: Annotated[str | None, typer.Option(help="The only tenant it may see.")] = None,
    expires: Annotated[
        timedelta | None,
        typer.Option(parser=_duration, metavar="30d", help="How long it is valid; for ever by default."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It is shown this once and stored as a hash."""
    new = run(_create(settings(), name=name, role=role, tenant=tenant, expires=expires))
    if as_json:
        emit_json({"id": new.id, "key": new.key})
    else:
        typer.echo(new.key)


async def _create(loaded: Settings, *, name: str, role: Role, tenant: str | None, expires: timedelta | None) -> NewKey:
    keys = Keys(loaded.api_key_pepper.get_secret_value())
    async with database(loaded) as db:
        await startup.prepare(db, files.migrations(), files.target(loaded))
        async with db.transaction() as conn:
            wanted = KeyRequest(name=name, role=role, tenant_id=tenant, expires_in=expires)
            _, new = await service.create(conn, keys, wanted, origin=origin())
            return new


@cli.command("list")
def list_keys(as_json: Json = False) -> None:
    """List keys, without their secrets."""
    keys = run(_every(settings()))
    if as_json:
        emit_json({"items": [_document(key) for key in keys]})
        return
    rows = [[_cell(value) for value in _document(key).values()] for key in keys]
    table([*_COLUMNS], rows)


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return "-" if value is None else str(value)


async def _every(loaded: Settings) -> list[ApiKey]:
    async with installed(loaded) as db, db.connection() as conn:
        return await queries.every(conn)


_COLUMNS = (
    "id",
    "name",
    "role",
    "tenant_id",
    "created_at",
    "expires_at",
    "revoked_at",
    "last_used_at",
    "replaces",
)


def _document(key: ApiKey) -> dict[str, object]:
    return {name: getattr(key, name) for name in _COLUMNS}


@cli.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    overlap: Annotated[
        timedelta, typer.Option(parser=_duration, metavar="1d", help="How long the old key goes on working.")
    ] = "1d",  # type: ignore[assignment]  # typer parses it
    as_json: Json = False,
) -> None:
    """Make a key in the place of another: the same name, role and tenant. It is shown this once."""
    new = run(_rotate(settings(), key_id, overlap))
    if as_json:
        emit_json({"id": new.id, "key": new.key, "replaces": key_id})
    else:
        typer.echo(new.key)


async def _rotate(loaded: Settings, key_id: str, overlap: timedelta) -> NewKey:
    keys = Keys(loaded.api_key_pepper.get_secret_value())
    async with installed(loaded) as db, db.transaction() as conn:
        _, new = await service.rotate(conn, keys, key_id, overlap=overlap, origin=origin())
        return new


@cli.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID")],
    even_the_last: Annotated[
        bool, typer.Option("--even-the-last", help="Also where no other key could make one then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Revoke a key by its id; every process refuses it within 5 seconds."""
    run(_revoke(settings(), key_id, even_the_last=even_the_last))
    if as_json:
        emit_json({"id": key_id, "revoked": True})
    else:
        typer.echo(f"Key {key_id} is revoked.")


async def _revoke(loaded: Settings, key_id: str, *, even_the_last: bool) -> None:
    async with database(loaded) as db:
        await startup.prepare(db, files.migrations(), files.target(loaded))
        async with db.transaction() as conn:
            await service.revoke(conn, key_id, origin=origin(), even_the_last=even_the_last)
