"""bf-admin config get, set, history, rollback"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from app.cli.failure import Failure, usage
from app.cli.installed import installed
from app.cli.lifecycle import Reason, TenantId, origin
from app.cli.output import Json, emit_json, run, settings, table
from app.config import history, service
from app.config.model import TenantSettings, Version
from app.registry import service as registry
from app.settings import Settings

# The schemas need longer to load: they are imported where they are used.
cli = typer.Typer(no_args_is_help=True)
DryRun = Annotated[bool, typer.Option("--validate-only", help="Check, show what it would be, and change nothing.")]


@cli.command("get")
def get(tenant_id: TenantId, as_json: Json = False) -> None:
    """Show a tenant's configuration."""
    _show(run(_get(settings(), tenant_id)), as_json=as_json)


async def _get(loaded: Settings, tenant_id: str) -> TenantSettings:
    async with installed(loaded) as db, db.connection() as conn:
        return await service.require(conn, tenant_id)


@cli.command("set")
def change(
    tenant_id: TenantId,
    assignments: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME=VALUE...", help="VALUE is JSON, or else text; null is the default."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="A JSON object of more of them; - reads standard input.")
    ] = None,
    validate_only: DryRun = False,
    as_json: Json = False,
) -> None:
    """Change members of a tenant's configuration: objects are merged, everything else is replaced (RFC 7396)."""
    patch = _patch({**_read(file), **_assigned(assignments or [])})
    _show(run(_change(settings(), tenant_id, patch, keep=not validate_only)), as_json=as_json)


def _read(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        document = json.loads(text)
    except (OSError, ValueError) as error:
        raise usage({"--file": str(error)}) from None
    if not isinstance(document, dict):
        raise usage({"--file": "must hold a JSON object"})
    return document


def _assigned(assignments: Sequence[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not (name and equals):
            raise usage({assignment: "write NAME=VALUE, as in default_currency=EUR"})
        try:
            values[name] = json.loads(text)
        except ValueError:
            values[name] = text
    return values


def _patch(values: dict[str, Any]) -> dict[str, Any]:
    from app.config.schemas import ConfigIn

    if not values:
        raise Failure("Say what to change: NAME=VALUE, or --file.", exit_code=2, code="usage")
    try:
        return ConfigIn.model_validate(values).patch()
    except ValidationError as error:
        raise usage({"/".join(map(str, found["loc"])): found["msg"] for found in error.errors()}) from None


async def _change(loaded: Settings, tenant_id: str, patch: dict[str, Any], *, keep: bool) -> TenantSettings:
    async with installed(loaded) as db, db.transaction(keep=keep) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        registry.require_changeable(tenant)
        before = await service.require(conn, tenant_id)
        return await service.merge(conn, tenant, before, patch, origin=origin())


def _show(found: TenantSettings, *, as_json: bool) -> None:
    from app.config.schemas import ConfigOut

    document = ConfigOut.of(found).model_dump()
    if as_json:
        emit_json(document)
        return
    width = max(map(len, document))
    for name, value in document.items():
        typer.echo(f"{name:<{width}}  {_text(value)}")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@cli.command("history")
def versions(
    tenant_id: TenantId,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many, the newest first.")] = 50,
    as_json: Json = False,
) -> None:
    """List the versions of everything that is configured of a tenant, with what each changed."""
    from app.config.schemas import VersionOut

    found = run(_versions(settings(), tenant_id, limit))
    if as_json:
        emit_json({"items": [VersionOut.of(version).model_dump(mode="json") for version in found]})
        return
    rows = [
        [
            str(version.version),
            f"{version.changed_at:%Y-%m-%d %H:%M:%S}",
            version.by,
            version.source,
            ", ".join(difference.pointer for difference in version.difference),
            version.reason or ("-" if version.restored_version is None else f"back to {version.restored_version}"),
        ]
        for version in found
    ]
    table(["version", "changed_at", "by", "source", "changed", "reason"], rows)


async def _versions(loaded: Settings, tenant_id: str, limit: int) -> list[Version]:
    async with installed(loaded) as db, db.connection() as conn:
        tenant = await registry.require(conn, tenant_id)
        found, _ = await history.page(conn, tenant, before=None, size=limit)
    return found


@cli.command("rollback")
def rollback(
    tenant_id: TenantId,
    version: Annotated[int, typer.Argument(metavar="VERSION", min=1, help="As in the history.")],
    reason: Reason = None,
    validate_only: DryRun = False,
    as_json: Json = False,
) -> None:
    """Make a new version that is equal to an old one, in every document; the tenant's state stays."""
    from app.config.schemas import RollbackIn, VersionOut

    try:
        wanted = RollbackIn(version=version, reason=reason)
    except ValidationError as error:
        raise usage({f"--{found['loc'][0]}": found["msg"] for found in error.errors()}) from None
    newest = run(_rollback(settings(), tenant_id, wanted.version, wanted.reason, keep=not validate_only))
    if as_json:
        emit_json(VersionOut.of(newest).model_dump(mode="json"))
        return
    changed = ", ".join(difference.pointer for difference in newest.difference)
    typer.echo(f"Version {newest.version} of tenant {tenant_id} is equal to version {version}. Changed: {changed}")


async def _rollback(loaded: Settings, tenant_id: str, version: int, reason: str | None, *, keep: bool) -> Version:
    async with installed(loaded) as db, db.transaction(keep=keep) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        return await history.rollback(conn, tenant, version, reason=reason, origin=origin())
