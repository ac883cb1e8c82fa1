"""bf-admin tenant delete-many: who fits the filters, by plan and confirmation"""

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from app.cli import backups
from app.cli.backups import work
from app.cli.failure import Failure
from app.cli.installed import installed
from app.cli.lifecycle import Reason, Yes, origin, reason_of, require_answer
from app.cli.output import Json, emit_json, run, settings
from app.cli.plans import Confirmation, agreed, told
from app.db.pool import Connection
from app.registry.model import State
from app.registry.service import TenantFilter
from app.settings import Settings

if TYPE_CHECKING:
    from app.operations.model import Operation
    from app.plans.model import Offer
    from app.tenants.loss_schemas import DeletionPlanOut


tenant = backups.tenant


@tenant.command("delete-many")
def delete_many(
    state: Annotated[State | None, typer.Option(help="In this state.")] = None,
    tier: Annotated[str | None, typer.Option(help="Of this tier.")] = None,
    feature: Annotated[str | None, typer.Option(help="With this feature enabled.")] = None,
    schema_version: Annotated[int | None, typer.Option(help="At this version of their schema.")] = None,
    search: Annotated[str | None, typer.Option(help="With this in id or name.")] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Without any filter, every tenant.")] = False,
    reason: Reason = None,
    confirmation: Confirmation = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Say who fits, ask, and stop all access to them. Each is kept for BF_DELETE_GRACE, as after `tenant delete`."""
    fitting = TenantFilter(state=state, tier=tier, feature=feature, schema_version=schema_version, contains=search)
    if (fitting == TenantFilter()) is not everyone:
        detail = "goes without filters" if everyone else "is needed, to mean every tenant: there is no filter"
        raise Failure(f"--all {detail}", exit_code=2, code="usage", errors={"--all": detail})
    loaded, why = settings(), reason_of(reason)
    if confirmation is None:
        require_answer("Delete them?", yes=yes)
        plan, offer = run(_plan(loaded, fitting))
        if not as_json:
            for one in plan.items:
                typer.echo(f"  {one.tenant_id}")
        told(
            f"{plan.tenants} tenants go; {len(plan.skipped)} more fit, in another state. They have",
            plan,
            as_json=as_json,
        )
        confirmation = agreed(offer, f"Delete these {plan.tenants} tenants?", yes=yes)
    result = run(_delete(loaded, fitting, why, confirmation))
    if as_json:
        emit_json(result)
    else:
        typer.echo(f"Deleted {result['deleted']}, unchanged {result['unchanged']}, refused {result['refused']}.")
    if result["refused"]:
        raise typer.Exit(3)


async def _plan(loaded: Settings, fitting: TenantFilter) -> "tuple[DeletionPlanOut, Offer]":
    from app.plans import service as plans
    from app.tenants import loss

    async with installed(loaded) as db, db.transaction() as conn:
        intent, plan, _ = await loss.deletion(conn, fitting)
        actor, needs_approval = origin().actor, loaded.second_approver
        return plan, await plans.offer(conn, intent, actor=actor, needs_approval=needs_approval)


async def _delete(loaded: Settings, fitting: TenantFilter, reason: str | None, token: str) -> dict[str, Any]:
    from app.plans import service as plans
    from app.tenants import bulk, loss

    async def request(conn: Connection, operation_id: UUID) -> "Operation":
        intent, _, going = await loss.deletion(conn, fitting)
        actor, needs_approval = origin().actor, loaded.second_approver
        confirmed = await plans.use_up(conn, token, intent, actor=actor, needs_approval=needs_approval)
        return await bulk.request_deletion(
            conn,
            going,
            operation_id=operation_id,
            reason=reason,
            grace=loaded.delete_grace,
            confirmed=confirmed,
            origin=origin(),
        )

    async def result(_: Connection, ended: "Operation") -> dict[str, Any]:
        return {"operation": str(ended.id), **(ended.result or {})}

    done: dict[str, Any] = await work(loaded, request, result)
    return done
