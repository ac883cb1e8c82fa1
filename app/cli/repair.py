"""bf-admin tenant verify, repair"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import many
from app.cli.failure import Failure
from app.cli.installed import installed
from app.cli.lifecycle import origin
from app.cli.output import Json, emit_json, progress, run, settings
from app.db.pool import Database
from app.schema import files
from app.schema import service as schema
from app.schema.expected import ExpectedTenants
from app.settings import Settings

if TYPE_CHECKING:
    from app.tenants.fleet import Fleet
    from app.tenants.repairing import Repaired
    from app.tenants.verifying import Verdict

tenant = many.tenant
TenantId = Annotated[str | None, typer.Argument(metavar="[ID]")]
All = Annotated[bool, typer.Option("--all", help="Every tenant, one after the other.")]


def _one(tenant_id: str | None, *, everyone: bool) -> str | None:
    """Raises Failure for both, and for neither."""
    if (tenant_id is None) is not everyone:
        raise Failure("Name one tenant, or say --all.", exit_code=2, code="usage")
    return tenant_id


@asynccontextmanager
async def _opened(loaded: Settings) -> AsyncIterator[tuple[Database, ExpectedTenants]]:
    async with installed(loaded) as db:
        async with db.connection() as conn:
            await schema.require_shared(conn)
        yield db, ExpectedTenants(db, files.migrations())


@tenant.command("verify")
def verify(tenant_id: TenantId = None, everyone: All = False, as_json: Json = False) -> None:
    """Compare a tenant's catalogue with what it must be. Exit code 1 where it is not; 3 where some are not."""
    named = _one(tenant_id, everyone=everyone)
    if named is None:
        _said_of_all(run(_verify_all(settings())), as_json=as_json)
        return
    from app.tenants.repair_schemas import VerificationOut

    difference = run(_verify(settings(), named)).found.difference
    if as_json:
        emit_json(VerificationOut.of(difference).model_dump(mode="json"))
    elif difference.ok:
        typer.echo(f"Tenant {named} is as expected.")
    else:
        _tell({"missing": difference.missing, "extra": difference.extra, "altered": difference.altered})
        typer.echo(f"To mend it: bf-admin tenant repair {named}", err=True)
    if not difference.ok:
        raise typer.Exit(1)


async def _verify(loaded: Settings, tenant_id: str) -> "Verdict":
    from app.tenants import verifying

    async with _opened(loaded) as (db, expected):
        return await verifying.verify(db, expected, tenant_id)


async def _verify_all(loaded: Settings) -> "Fleet":
    from app.tenants import fleet

    async with _opened(loaded) as (db, expected), progress("Verifying") as show:
        return await fleet.verify_all(db, expected, progress=show)


@tenant.command("repair")
def repair(
    tenant_id: TenantId = None,
    everyone: All = False,
    drop_extra: Annotated[
        bool,
        typer.Option("--drop-extra", help="Drop what was added too; never a table with rows, a column with values."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Put a tenant's catalogue right. Exit code 1 where something could not be mended; 3 where of some tenants."""
    named = _one(tenant_id, everyone=everyone)
    if named is None:
        _said_of_all(run(_repair_all(settings(), drop_extra=drop_extra)), as_json=as_json)
        return
    done = run(_repair(settings(), named, drop_extra=drop_extra))
    done.require_whole(named)
    if as_json:
        emit_json(done.as_json(named))
        return
    mended = done.repair.mended()
    if not any(mended.values()):
        typer.echo(f"There is nothing to mend in tenant {named}.")
    _tell({**mended, "kept": done.repair.kept})
    for warning in done.warnings:
        typer.echo(f"warning: {warning}", err=True)


async def _repair(loaded: Settings, tenant_id: str, *, drop_extra: bool) -> "Repaired":
    from app.tenants import repairing

    async with _opened(loaded) as (db, expected):
        return await repairing.run(db, expected, tenant_id, drop_extra=drop_extra, origin=origin())


async def _repair_all(loaded: Settings, *, drop_extra: bool) -> "Fleet":
    from app.tenants import fleet

    async with _opened(loaded) as (db, expected), progress("Repairing") as show:
        return await fleet.repair_all(db, expected, drop_extra=drop_extra, origin=origin(), progress=show)


def _tell(found: Mapping[str, Any]) -> None:
    for label, drifts in found.items():
        for drift in drifts:
            typer.echo(f"{label}\t{drift}")


def _said_of_all(found: "Fleet", *, as_json: bool) -> None:
    if as_json:
        emit_json(found.as_json())
    else:
        for tenant_id, done in found.repaired.items():
            _tell({f"{tenant_id}\t{verb}": done[verb] for verb in ("made", "removed", "altered")})
        for tenant_id, drift in found.drifted.items():
            _tell({f"{tenant_id}\t{label}": names for label, names in drift.items()})
        for tenant_id, why in found.failed.items():
            typer.echo(f"{tenant_id}: {why}", err=True)
        typer.echo(f"Verified {found.verified} tenants: {len(found.drifted)} are not as expected.")
    if found.drifted or found.failed:
        raise typer.Exit(3)
