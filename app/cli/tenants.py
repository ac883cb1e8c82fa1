"""bf-admin create-tenant, list-tenants"""

import getpass
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID, uuid4

import typer
from pydantic import ValidationError

from app.cli.failure import usage
from app.cli.output import Json, database, emit_json, run, settings, table
from app.db.pool import Database
from app.errors import AppError
from app.operations import queries as operations
from app.registry import service as registry
from app.registry.model import Tenant, TenantRequest
from app.registry.service import TenantFilter
from app.schema import files
from app.schema import service as schema
from app.schema.expected import ExpectedTenants
from app.schema.script import Target
from app.settings import Settings

# What making and showing tenants needs (pgqueuer, the schemas) takes a third of a second to load: it is imported there.
_PAGE = 500


def register(cli: typer.Typer) -> None:
    cli.command("create-tenant")(create_tenant)
    cli.command("list-tenants")(list_tenants)


def create_tenant(
    tenant_id: Annotated[str, typer.Option("--tenant-id", help="2 to 36 of a-z, 0-9 and _; a letter first.")],
    tenant_name: Annotated[str, typer.Option("--tenant-name", help="For people.")],
    created_by: Annotated[str | None, typer.Option("--created-by", help="By default who you are here.")] = None,
    as_json: Json = False,
) -> None:
    """Create a tenant, or repair one that failed. It is whole when this returns, or not there at all."""
    from app.tenants.schemas import TenantOut

    loaded = settings()
    request = _request(tenant_id, tenant_name, created_by)
    tenant = run(_create(loaded, request))
    if as_json:
        emit_json(TenantOut.of(tenant).model_dump(mode="json"))
    else:
        typer.echo(f"Tenant {tenant.tenant_id} is {tenant.state} in schema {tenant.schema_name}.")


def _request(tenant_id: str, tenant_name: str, created_by: str | None) -> TenantRequest:
    from app.tenants.schemas import TenantIn

    body: dict[str, Any] = {"tenant_id": tenant_id, "tenant_name": tenant_name}
    if created_by is not None:
        body["created_by"] = created_by
    try:
        return TenantIn.model_validate(body).request(tenant_id, caller=user())
    except ValidationError as error:
        raise usage({_option(found["loc"]): found["msg"] for found in error.errors()}) from None


def _option(location: Sequence[object]) -> str:
    return f"--{'-'.join(map(str, location)).replace('_', '-')}"


def user() -> str:
    """Whoever calls from this shell."""
    """Who runs the command."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "bf-admin"  # a container's user may have no name


async def _create(loaded: Settings, request: TenantRequest) -> Tenant:
    """The same rows as over REST, in one transaction that needs no worker."""
    async with database(loaded) as db:
        expected = ExpectedTenants(db, files.migrations())
        async with db.connection() as conn:
            await schema.require_settings(conn, files.target(loaded))
            version = await schema.require_installed(conn)
        await expected.prepare(version)
        return await create_one(db, expected, files.target(loaded), request, operation_id=uuid4())


async def create_one(
    db: Database, expected: ExpectedTenants, target: Target, request: TenantRequest, *, operation_id: UUID
) -> Tenant:
    """In one transaction. Needs expected.prepare()."""
    from app.audit.model import Origin
    from app.operations.service import Steps
    from app.tenants import service

    origin = Origin(actor=f"cli:{user()}")
    async with db.transaction() as conn:
        operation = await service.request_provisioning(
            conn, request, operation_id=operation_id, origin=origin, by_hand=True
        )
        claim = await operations.claim(conn, operation.id)
        if claim is None:
            raise AppError("The operation that was just stored is not there.")
        return await service.provision(conn, claim, expected, target, steps=Steps())


def list_tenants(as_json: Json = False) -> None:
    """List all tenants that are not deleted."""
    tenants = run(_list(settings()))
    if as_json:
        from app.tenants.schemas import TenantOut

        emit_json({"items": [TenantOut.of(tenant).model_dump(mode="json") for tenant in tenants]})
        return
    if not tenants:
        typer.echo("There are no tenants.", err=True)
        return
    rows = [
        [
            t.tenant_id,
            t.tenant_name,
            str(t.state),
            str(t.schema_version or "-"),
            t.schema_name,
            f"{t.created_at:%Y-%m-%d %H:%M}",
        ]
        for t in tenants
    ]
    table(["tenant_id", "tenant_name", "state", "version", "schema", "created_at"], rows)


async def _list(loaded: Settings) -> list[Tenant]:
    async with database(loaded) as db:
        async with db.connection() as conn:
            await schema.require_installed(conn)
        found: list[Tenant] = []
        after: tuple[str, str] | None = None
        while True:
            async with db.connection() as conn:
                page, after = await registry.page(conn, TenantFilter(), after=after, size=_PAGE)
            found += page
            if after is None:
                return found
