"""bf-admin tenant show, suspend, resume, delete"""

import sys
from typing import Annotated

import typer

from app.audit.model import Origin
from app.cli.failure import Failure
from app.cli.installed import installed
from app.cli.output import Json, emit_json, run, settings
from app.cli.tenants import user
from app.registry import service as registry
from app.registry.model import Tenant, Transition
from app.settings import Settings

# What needs longer to load (the schemas, pgqueuer) is imported where it is used.
cli = typer.Typer(no_args_is_help=True)
TenantId = Annotated[str, typer.Argument(metavar="ID")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why: kept with the tenant and in the audit trail.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def confirm(question: str, *, yes: bool) -> None:
    """Raises Failure where nobody can be asked, and typer.Abort for a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} Say --yes: there is no terminal to ask at.", exit_code=2, code="usage")
    typer.confirm(question, abort=True, err=True)


def require_answer(question: str, *, yes: bool) -> None:
    """Raises Failure where confirm() will not be able to ask: before anything is looked for."""
    if not yes and not sys.stdin.isatty():
        confirm(question, yes=yes)


def origin() -> Origin:
    """Whoever runs the command."""
    return Origin(actor=f"cli:{user()}")


@cli.command("show")
def show(tenant_id: TenantId, as_json: Json = False) -> None:
    """Show one tenant, deleted ones too."""
    say(run(_show(settings(), tenant_id)), as_json=as_json)


async def _show(loaded: Settings, tenant_id: str) -> Tenant:
    async with installed(loaded) as db, db.connection() as conn:
        return await registry.require(conn, tenant_id)


@cli.command("suspend")
def suspend(tenant_id: TenantId, reason: Reason = None, as_json: Json = False) -> None:
    """Keep the application out: the database refuses it from its next statement on. Everything is kept."""
    _moved(tenant_id, Transition.SUSPEND, reason, as_json=as_json)


@cli.command("resume")
def resume(tenant_id: TenantId, reason: Reason = None, as_json: Json = False) -> None:
    """Let the application in again."""
    _moved(tenant_id, Transition.RESUME, reason, as_json=as_json)


@cli.command("delete")
def delete(tenant_id: TenantId, reason: Reason = None, yes: Yes = False, as_json: Json = False) -> None:
    """Stop all access. Everything is kept for BF_DELETE_GRACE, and a restore brings it back until then."""
    confirm(f"Delete tenant {tenant_id}?", yes=yes)
    _moved(tenant_id, Transition.DELETE, reason, as_json=as_json)


def reason_of(text: str | None) -> str | None:
    """Raises Failure for what the API would not take either."""
    from app.tenants.lifecycle_schemas import checked_reason

    try:
        return checked_reason(text)
    except ValueError as error:
        raise Failure(f"--reason: {error}", exit_code=2, code="usage", errors={"--reason": str(error)}) from None


def _moved(tenant_id: str, transition: Transition, reason: str | None, *, as_json: bool) -> None:
    say(run(_move(settings(), tenant_id, transition, reason_of(reason))), as_json=as_json)


async def _move(loaded: Settings, tenant_id: str, transition: Transition, reason: str | None) -> Tenant:
    from app.tenants import lifecycle

    async with installed(loaded) as db, db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        return await lifecycle.move(conn, tenant, transition, reason=reason, origin=origin(), grace=loaded.delete_grace)


def say(tenant: Tenant, *, as_json: bool) -> None:
    """What is known of the tenant, for people or as JSON."""
    from app.tenants.schemas import TenantOut

    document = TenantOut.of(tenant).model_dump(mode="json")
    if as_json:
        emit_json(document)
        return
    shown = {name: value for name, value in document.items() if value is not None}
    if "error" in shown:
        shown["error"] = shown["error"]["detail"]
    width = max(map(len, shown))
    for name, value in shown.items():
        typer.echo(f"{name:<{width}}  {value}")
