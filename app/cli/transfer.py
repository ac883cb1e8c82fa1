"""bf-admin export-tenants, import-tenants"""

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO
from uuid import uuid4

import typer
from pydantic import ValidationError

from app.cli.failure import Failure, usage
from app.cli.output import Json, database, emit_json, progress, run, settings
from app.cli.tenants import create_one, user
from app.config import queries as config
from app.config.model import TenantSettings
from app.db.pool import Connection, Database
from app.errors import AppError, Invalid
from app.registry import queries as registry
from app.registry import service as registry_service
from app.registry.model import State, Tenant, TenantRequest
from app.registry.service import TenantFilter
from app.schema import files
from app.schema import service as schema
from app.schema import upgrade as upgrading
from app.schema.expected import ExpectedTenants
from app.settings import Settings
from app.tenants import portable
from app.tenants.portable import CsvWriter, JsonWriter, UnreadableFileError

_PAGE = 500
# How many faults of a file are told; nobody reads more at once.
_TOLD = 50


class Format(StrEnum):
    CSV = "csv"
    JSON = "json"


def register(cli: typer.Typer) -> None:
    cli.command("export-tenants")(export_tenants)
    cli.command("import-tenants")(import_tenants)


def export_tenants(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; standard output otherwise.")] = None,
    as_format: Annotated[
        Format | None, typer.Option("--format", help="By default what the file's name ends with, or json.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write every tenant that is not deleted, as import-tenants reads them. Secrets are not in it, nor are the rows."""
    wanted = _format(as_format, output)
    if as_json and output is None and wanted is Format.CSV:
        raise usage({"--json": "goes with --format json, or with --output"})
    with _opened(output) as file:
        count = run(_export(settings(), CsvWriter(file) if wanted is Format.CSV else JsonWriter(file)))
    if output is None:
        return
    if as_json:
        emit_json({"output": str(output), "tenants": count})
    else:
        typer.echo(f"Exported {count} tenants to {output}.")


def _format(given: Format | None, path: Path | None) -> Format:
    if given is not None:
        return given
    return Format.CSV if path is not None and path.suffix.lower() == ".csv" else Format.JSON


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    if output is None:
        yield sys.stdout
        return
    try:
        with output.open("w", encoding="utf-8", newline="") as file:
            yield file
    except OSError as error:
        raise Failure(f"{error}: name another file") from None


async def _export(loaded: Settings, writer: CsvWriter | JsonWriter) -> int:
    count = 0
    async with database(loaded) as db, progress("Exporting") as show:
        async with db.connection() as conn:
            await schema.require_installed(conn)
            total = await registry.count_listed(conn)
        async for tenant in _tenants(db):
            writer.write(tenant)
            count += 1
            if count % _PAGE == 0:
                show(upgrading.Progress(step="tenants", done=count, total=max(total, count)))
        writer.close()
    return count


async def _tenants(db: Database) -> AsyncIterator[dict[str, Any]]:
    """A page at a time, so that memory holds no more, and no transaction stays open."""
    after: tuple[str, str] | None = None
    while True:
        async with db.connection() as conn:
            page, after = await registry_service.page(conn, TenantFilter(), after=after, size=_PAGE)
            known = await config.get_all(conn, [str(tenant.tenant_id) for tenant in page])
        for tenant in page:
            yield _portable(tenant, known.get(tenant.tenant_id))
        if after is None:
            return


def _portable(tenant: Tenant, known: tuple[list[str], TenantSettings] | None) -> dict[str, Any]:
    said: dict[str, Any] = {
        "tenant_id": tenant.tenant_id,
        "tenant_name": tenant.tenant_name,
        "created_by": tenant.created_by,
        "subscription_tier": tenant.subscription_tier,
        "billing_contact": tenant.billing_contact,
    }
    if known is not None:
        features, rest = known
        said |= {
            "features_enabled": features,
            "limits": rest.limits,
            "config": rest.configuration,
            "integrations": rest.integrations,
        }
    return said


def import_tenants(
    file: Annotated[Path, typer.Argument(help="CSV with a first line of column names, or JSON.")],
    as_format: Annotated[
        Format | None, typer.Option("--format", help="By default what the file's name ends with, or json.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, and create nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Create the tenants of a file, once all its lines are right. Run again, it creates those that are missing."""
    wanted = _format(as_format, file)
    new, there, failed = run(_import(settings(), file, wanted, dry_run=dry_run))
    if as_json:
        created = {"would_create" if dry_run else "created": new}
        emit_json({**created, "existing": there, "failed": [{"tenant_id": k, "detail": v} for k, v in failed.items()]})
    else:
        verb = "would be created" if dry_run else "were created"
        typer.echo(f"{new} tenants {verb}, {there} are there already, {len(failed)} failed.")
    for tenant_id, reason in failed.items():
        typer.echo(f"{tenant_id}: {reason}", err=True)
    if failed:
        raise typer.Exit(3 if new else 1)


async def _import(loaded: Settings, path: Path, wanted: Format, *, dry_run: bool) -> tuple[int, int, dict[str, str]]:
    """How many were, or would be, created, how many were there, and which failed, with why."""
    requests = _requests(path, wanted)
    async with database(loaded) as db:
        async with db.connection() as conn:
            await schema.require_settings(conn, files.target(loaded))
            version = await schema.require_installed(conn)
            await schema.require_accepting(conn)
            new = await _missing(conn, requests)
        there = len(requests) - len(new)
        if dry_run:
            return len(new), there, {}
        expected, failed = ExpectedTenants(db, files.migrations()), dict[str, str]()
        await expected.prepare(version)
        async with progress("Creating") as show:
            for done, request in enumerate(new, start=1):
                try:
                    await create_one(db, expected, files.target(loaded), request, operation_id=uuid4())
                except AppError as error:
                    failed[request.tenant_id] = error.detail
                show(upgrading.Progress(step=request.tenant_id, done=done, total=len(new)))
    return len(new) - len(failed), there, failed


def _requests(path: Path, wanted: Format) -> dict[str, TenantRequest]:
    """By where they stand in the file. Raises Failure, with what is wrong with each line."""
    from app.tenants.schemas import TenantIn

    word = "line" if wanted is Format.CSV else "tenant"
    found: dict[str, TenantRequest] = {}
    errors: dict[str, str] = {}
    first: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, item in (portable.read_csv if wanted is Format.CSV else portable.read_json)(file):
                place = f"{word} {number}"
                try:
                    body = TenantIn.model_validate(item)
                except ValidationError as error:
                    errors[place] = "; ".join(_said(e) for e in error.errors())
                    continue
                if body.tenant_id in first:
                    errors[place] = f"tenant_id: is that of {first[body.tenant_id]} too"
                first.setdefault(body.tenant_id, place)
                found[place] = body.request(body.tenant_id, caller=user())
    except UnreadableFileError as error:
        errors[f"line {error.line}"] = str(error)
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {error}", exit_code=2, code="usage") from None
    _require_none(errors)
    return found


def _said(error: Any) -> str:
    return f"{'.'.join(map(str, error['loc'])) or 'it'}: {str(error['msg']).removeprefix('Value error, ')}"


async def _missing(conn: Connection, requests: dict[str, TenantRequest]) -> list[TenantRequest]:
    """Those that are not there yet. Raises Failure where a line cannot be what its tenant is, or will be."""
    from app.tenants import service

    errors: dict[str, str] = {}
    new: list[TenantRequest] = []
    taken = await registry.taken(conn, [request.tenant_id for request in requests.values()])
    for place, request in requests.items():
        if request.tenant_id in taken:
            asked = await registry.get_request(conn, request.tenant_id)
            if asked is None or asked[1] != request.document:
                errors[place] = f"tenant_id: {request.tenant_id} exists, and was created by another request"
                continue
            if asked[0] is not State.FAILED:  # one that failed is repaired by the same request
                continue
        new.append(request)
        try:
            await service.check(conn, request)
        except Invalid as error:
            errors[place] = "; ".join(f"{e.pointer.strip('/').replace('/', '.')}: {e.detail}" for e in error.errors)
    _require_none(errors)
    return new


def _require_none(errors: dict[str, str]) -> None:
    if not errors:
        return
    told = dict(list(errors.items())[:_TOLD])
    if len(errors) > len(told):
        told["and"] = f"{len(errors) - len(told)} more"
    raise Failure(
        f"{len(errors)} of the file's tenants are wrong; nothing was created.", code="invalid_file", errors=told
    )
