"""bf-admin tenant backup, backups, purge, restore: long work, done by this process or by a worker beside it"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import typer

from app.cli import lifecycle
from app.cli.failure import Failure
from app.cli.installed import installed
from app.cli.lifecycle import Reason, TenantId, Yes, origin, reason_of, require_answer, say
from app.cli.output import Json, emit_json, run, settings, table
from app.cli.plans import Confirmation, agreed, told
from app.db.pool import Connection
from app.registry import service as registry
from app.registry.model import Tenant, Transition
from app.settings import Settings

if TYPE_CHECKING:
    from app.backups.model import Backup
    from app.operations.model import Operation
    from app.plans.model import Offer
    from app.plans.schemas import LossOut

tenant = lifecycle.cli


@tenant.command("backup")
def backup(tenant_id: TenantId, reason: Reason = None, as_json: Json = False) -> None:
    """Back a tenant up to BF_BACKUP_URL: verified, and as of one moment."""
    made = run(_backup(settings(), tenant_id, reason_of(reason)))
    if as_json:
        emit_json(_document(made))
    else:
        typer.echo(f"Backup {made.id} of tenant {tenant_id} is {made.archive.url}, {made.archive.size} bytes.")


async def _backup(loaded: Settings, tenant_id: str, reason: str | None) -> "Backup":
    from app.backups import service

    async def request(conn: Connection, operation_id: UUID) -> "Operation":
        return await service.request_backup(
            conn,
            tenant_id,
            operation_id=operation_id,
            reason=reason,
            origin=origin(),
            configured=loaded.backup_url is not None,
        )

    found = await work(loaded, request, lambda conn, ended: service.require(conn, tenant_id, ended.id))
    made: Backup = found
    return made


@tenant.command("backups")
def backups(tenant_id: TenantId, as_json: Json = False) -> None:
    """List a tenant's backups, the newest first; a purged one's too."""
    found = run(_every(settings(), tenant_id))
    if as_json:
        emit_json({"items": [_document(one) for one in found]})
        return
    rows = [
        [str(b.id), f"{b.created_at:%Y-%m-%d %H:%M}", str(b.subject.generation), str(b.archive.size), b.archive.url]
        for b in found
    ]
    table(["id", "created_at", "generation", "bytes", "url"], rows)


async def _every(loaded: Settings, tenant_id: str) -> list["Backup"]:
    from app.backups import service

    async with installed(loaded) as db:
        found: list[Backup] = []
        after: tuple[str, str] | None = None
        while True:
            async with db.connection() as conn:
                page, after = await service.page(conn, tenant_id, after=after, size=500)
            found += page
            if after is None:
                return found


@tenant.command("purge")
def purge(
    tenant_id: TenantId,
    reason: Reason = None,
    waive_backup: Annotated[
        bool, typer.Option("--waive-backup", help="Make no backup first: nothing can ever come back.")
    ] = False,
    confirmation: Confirmation = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Say what is lost with a deleted tenant, ask, and drop it, after a verified backup."""
    end = "WITHOUT a backup, for ever" if waive_backup else "after a backup"
    question = f"Drop all of tenant {tenant_id}, {end}?"
    loaded, why = settings(), reason_of(reason)
    if confirmation is None:
        require_answer(question, yes=yes)
        plan, offer = run(_plan_purge(loaded, tenant_id, why, waive_backup=waive_backup))
        told(f"A purge of tenant {tenant_id} drops", plan, as_json=as_json)
        confirmation = agreed(offer, question, yes=yes)
    result = run(_purge(loaded, tenant_id, why, waive_backup=waive_backup, token=confirmation))
    if as_json:
        emit_json(result)
    else:
        kept = result["backup_id"]
        typer.echo(f"Tenant {tenant_id} is gone; {'there is no backup' if kept is None else f'its backup is {kept}'}.")


async def _plan_purge(
    loaded: Settings, tenant_id: str, reason: str | None, *, waive_backup: bool
) -> "tuple[LossOut, Offer]":
    from app.backups import service
    from app.plans import service as plans
    from app.tenants import lifecycle as transitions
    from app.tenants import loss

    async with installed(loaded) as db, db.transaction() as conn:
        found = await registry.require(conn, tenant_id)
        registry.require_transition(found, Transition.PURGE)
        await transitions.require_no_credentials(conn, reason)
        if not waive_backup and found.schema_version is not None:
            await service.require_possible(conn, configured=loaded.backup_url is not None)
        intent, plan = await loss.purge(conn, found, waive_backup=waive_backup)
        actor, needs_approval = origin().actor, loaded.second_approver
        return plan, await plans.offer(conn, intent, actor=actor, needs_approval=needs_approval)


async def _purge(
    loaded: Settings, tenant_id: str, reason: str | None, *, waive_backup: bool, token: str
) -> dict[str, Any]:
    from app.backups import service
    from app.plans import service as plans
    from app.tenants import loss, purge

    async def request(conn: Connection, operation_id: UUID) -> "Operation":
        found = await registry.require(conn, tenant_id, lock=True)
        registry.require_transition(found, Transition.PURGE)
        intent, _ = await loss.purge(conn, found, waive_backup=waive_backup)
        actor, needs_approval = origin().actor, loaded.second_approver
        asked = await purge.request_purge(
            conn,
            found,
            operation_id=operation_id,
            reason=reason,
            waive_backup=waive_backup,
            origin=origin(),
            planned=intent,
            confirmed=await plans.use_up(conn, token, intent, actor=actor, needs_approval=needs_approval),
        )
        if not asked.parameters["waive_backup"]:
            await service.require_possible(conn, configured=loaded.backup_url is not None)
        return asked

    async def result(_: Connection, ended: "Operation") -> dict[str, Any]:
        return ended.result or {}

    done: dict[str, Any] = await work(loaded, request, result)
    return done


@tenant.command("restore")
def restore(
    tenant_id: TenantId,
    backup: Annotated[UUID | None, typer.Option(help="Of a purged tenant: which one; by default the latest.")] = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Undo the deletion of a tenant; or bring a purged one back from a backup."""
    say(run(_restore(settings(), tenant_id, backup, reason_of(reason))), as_json=as_json)


async def _restore(loaded: Settings, tenant_id: str, backup_id: UUID | None, reason: str | None) -> Tenant:
    from app.tenants import lifecycle as transitions
    from app.tenants import restoring
    from app.tenants.service import TenantExists

    async def request(conn: Connection, operation_id: UUID) -> "Operation | None":
        there = await registry.find_locked(conn, tenant_id)
        if there is not None and backup_id is not None:
            raise TenantExists(f"Tenant {tenant_id} exists and is {there.state}: no backup takes its place.")
        if there is not None:
            await transitions.move(conn, there, Transition.RESTORE, reason=reason, origin=origin())
            return None
        return await restoring.request_restore(
            conn,
            registry.known_id(tenant_id),
            backup_id,
            operation_id=operation_id,
            reason=reason,
            origin=origin(),
        )

    found = await work(loaded, request, lambda conn, _: registry.require(conn, tenant_id))
    restored: Tenant = found
    return restored


async def work(
    loaded: Settings,
    request: Callable[[Connection, UUID], Awaitable["Operation | None"]],
    finished: Callable[[Connection, Any], Awaitable[Any]],
) -> Any:
    """Stores what is asked for and works it off, here or in a worker that is quicker; then what `finished` reads.

    Without an operation there was nothing left to do. Raises Failure where it failed.
    """
    from app import worker

    operation_id = uuid4()
    async with installed(loaded) as db:
        async with db.transaction() as conn:
            operation = await request(conn, operation_id)
        if operation is not None:
            operation = await worker.work_off(loaded, db, operation_id)
            if operation.error is not None:
                error = operation.error
                raise Failure(error["detail"], code=error["code"], title=error["title"])
        async with db.connection() as conn:
            return await finished(conn, operation)


def _document(backup: "Backup") -> dict[str, Any]:
    from app.backups.schemas import BackupOut

    return BackupOut.of(backup).model_dump(mode="json")
