"""bf-admin plan show, approve; and how commands that destroy show, ask and confirm."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.failure import Failure
from app.cli.installed import installed
from app.cli.lifecycle import confirm, origin
from app.cli.output import Json, emit_json, run, settings, size
from app.settings import Settings

if TYPE_CHECKING:
    from app.plans.model import Offer, Plan
    from app.plans.schemas import LossOut

cli = typer.Typer(no_args_is_help=True)
Confirmation = Annotated[
    str | None, typer.Option("--confirmation", help="Of a plan that somebody else has approved; nothing is asked.")
]
PlanId = Annotated[str, typer.Argument(metavar="ID")]


@cli.command("show")
def show(plan_id: PlanId, as_json: Json = False) -> None:
    """Show a plan: what would be lost, who made it, who has approved it."""
    _say(run(_show(settings(), plan_id)), as_json=as_json)


async def _show(loaded: Settings, plan_id: str) -> "Plan":
    from app.plans import service

    async with installed(loaded) as db, db.connection() as conn:
        return await service.require(conn, plan_id)


@cli.command("approve")
def approve(plan_id: PlanId, as_json: Json = False) -> None:
    """Agree to a plan of somebody else's, who can then confirm it."""
    _say(run(_approve(settings(), plan_id)), as_json=as_json)


async def _approve(loaded: Settings, plan_id: str) -> "Plan":
    from app.plans import service

    async with installed(loaded) as db, db.transaction() as conn:
        return await service.approve(conn, plan_id, origin=origin())


def told(what: str, plan: "LossOut", *, as_json: bool) -> None:
    """In a line: on standard error where standard output is for JSON."""
    about = "" if plan.rows_are == "exact" else "about "
    typer.echo(f"{what} {plan.tables} tables, {about}{plan.rows} rows, {size(plan.bytes)}.", err=as_json)


def agreed(offer: "Offer", question: str, *, yes: bool) -> str:
    """The confirmation, once somebody has said yes. Raises Failure where somebody else has to approve it first."""
    confirm(question, yes=yes)
    if offer.needs_approval:
        raise Failure(
            f"somebody else must approve plan {offer.id}: bf-admin plan approve {offer.id}, or POST "
            f"/v1/plans/{offer.id}/approve; then, within ten minutes, the same again with --confirmation {offer.token}",
            code="approval_needed",
        )
    return offer.token


def _say(plan: "Plan", *, as_json: bool) -> None:
    from app.plans.schemas import StoredPlanOut

    document = StoredPlanOut.of(plan).model_dump(mode="json")
    if as_json:
        emit_json(document)
        return
    loss = document.pop("loss")
    shown = {**document, **{name: value for name, value in loss.items() if not isinstance(value, list)}}
    width = max(map(len, shown))
    for name, value in shown.items():
        if value is not None:
            sys.stdout.write(f"{name:<{width}}  {value}\n")
