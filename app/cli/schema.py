"""bf-admin upgrade, downgrade, sql, openapi"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from app.cli.failure import Failure
from app.cli.installed import installed
from app.cli.lifecycle import origin
from app.cli.output import Json, database, emit_json, progress, run, settings, size
from app.schema import downgrade as downgrading
from app.schema import files, script
from app.schema import upgrade as upgrading
from app.settings import Settings

sql = typer.Typer(no_args_is_help=True)


def register(cli: typer.Typer) -> None:
    cli.command()(upgrade)
    cli.command()(downgrade)
    cli.command()(openapi)
    sql.command("upgrade")(sql_upgrade)


def upgrade(as_json: Json = False) -> None:
    """Bring the schemas, then every tenant, up to date. Run again, it does nothing."""
    outcome = run(_upgrade(settings()))
    for warning in outcome.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        emit_json(asdict(outcome))
    elif outcome.applied or outcome.upgraded:
        typer.echo(f"Applied {len(outcome.applied)} migrations, upgraded {len(outcome.upgraded)} tenants.")
    elif not outcome.failed:
        typer.echo("The schema is up to date.")
    for tenant_id, reason in outcome.failed.items():
        typer.echo(f"{tenant_id}: {reason}", err=True)
    if outcome.failed:
        raise typer.Exit(3)


async def _upgrade(loaded: Settings) -> upgrading.Outcome:
    async with database(loaded) as db, progress("Upgrading") as show:
        return await upgrading.run(db, files.migrations(), files.target(loaded), progress=show)


def downgrade(
    confirm_destroy: Annotated[
        bool, typer.Option("--confirm-destroy", help="Really destroy all tenants and their data.")
    ] = False,
    confirmation: Annotated[
        str | None, typer.Option("--confirmation", help="Of a plan that somebody else has approved.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Destroy every tenant and everything that upgrade made. Without --confirm-destroy: say what that is."""
    loaded = settings()
    plan = run(_plan(loaded))
    if not as_json:
        _show(plan)
    if not confirm_destroy:
        if as_json:
            emit_json(_plan_document(plan))
        if not plan.installed:
            return
        typer.echo("Nothing was dropped. To destroy all of this: bf-admin downgrade --confirm-destroy", err=True)
        raise typer.Exit(2)
    if loaded.second_approver and plan.installed:
        run(_approved(loaded, plan, confirmation))
    outcome = run(_downgrade(loaded, plan))
    if as_json:
        done = {"tenants": outcome.tenants, "roles_dropped": outcome.roles_dropped, "roles_kept": outcome.roles_kept}
        emit_json({"plan": _plan_document(plan), "dropped": done})
        return
    for role, reason in outcome.roles_kept.items():
        typer.echo(f"Role {role} stays: {reason}.")
    if plan.installed:
        typer.echo(f"Dropped {len(outcome.tenants)} tenants and the schemas of the service.")


async def _plan(loaded: Settings) -> downgrading.Plan:
    async with database(loaded) as db, db.connection() as conn:
        return await downgrading.plan(conn, files.target(loaded))


async def _approved(loaded: Settings, plan: downgrading.Plan, token: str | None) -> None:
    """Raises Failure, naming what to do, until somebody else has approved the plan."""
    from app.cli.plans import agreed
    from app.plans import service
    from app.schema.schemas import DowngradePlanOut

    actor = origin().actor
    intent = plan.intent(DowngradePlanOut.of(plan).document())
    async with installed(loaded) as db, db.transaction() as conn:
        if token is not None:
            await service.use_up(conn, token, intent, actor=actor, needs_approval=True)
            return
        offer = await service.offer(conn, intent, actor=actor, needs_approval=True)
    agreed(offer, "", yes=True)


async def _downgrade(loaded: Settings, plan: downgrading.Plan) -> downgrading.Outcome:
    """Of what was shown: a tenant that was made since stops it."""
    confirmed = {tenant.identity for tenant in plan.tenants}
    async with database(loaded) as db, progress("Dropping") as show:
        return await downgrading.run(db, files.target(loaded), confirmed=confirmed, progress=show)


def _plan_document(plan: downgrading.Plan) -> dict[str, object]:
    return {
        "database": plan.database,
        "tenants": [
            {
                "tenant_id": t.tenant_id,
                "schema_name": t.schema_name,
                "tables": t.tables,
                "rows": t.rows,
                "bytes": t.size,
            }
            for t in plan.tenants
        ],
        "bytes": plan.size,
        "blockers": plan.blockers,
    }


def _show(plan: downgrading.Plan) -> None:
    if not plan.installed:
        typer.echo(f"Nothing is installed in database {plan.database}.")
        return
    typer.echo(f"In database {plan.database}, a downgrade drops:")
    for tenant in plan.tenants:
        typer.echo(f"  {tenant.schema_name}\t{size(tenant.size)}")
    typer.echo(f"  {len(plan.tenants)} tenants, {size(plan.size)}; the shared schema, bf_control and bf_queue")
    for blocker in plan.blockers:
        typer.echo(f"  in the way: {blocker}")


def sql_upgrade(as_json: Json = False) -> None:
    """Print the upgrade as one script for psql, for a DBA to read and run. It asks no database."""
    text = "\n".join(script.psql(files.migrations(), files.target(settings())))
    if as_json:
        emit_json({"sql": text})
    else:
        typer.echo(text)


def openapi(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; standard output otherwise.")] = None,
    as_json: Json = False,
) -> None:
    """Print the OpenAPI document of this release, which is JSON in any case."""
    from app.main import create_app  # FastAPI takes half a second to load: only who needs it waits for it

    document = json.dumps(create_app(settings()).openapi(), indent=2, ensure_ascii=False)
    if output is None:
        typer.echo(document)
    else:
        _write(output, document + "\n")
        if as_json:
            emit_json({"output": str(output)})


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{error}: name another file") from None
