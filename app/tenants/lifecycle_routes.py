"""POST /v1/tenants/{id}/suspend, /resume, /restore and /purge; DELETE /v1/tenants/{id}"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from app.backups import service as backups
from app.db.pool import Connection
from app.http import conditional, idempotency
from app.http.auth import Actor, CurrentAdmin, CurrentOperator
from app.http.conditional import IfMatch, Missing, Tags
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ACCEPTED, ETAG, done
from app.http.prefer import WaitSeconds
from app.http.values import Reason
from app.operations import answer as operation_answer
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Operation
from app.operations.schemas import OperationOut
from app.plans import service as plans
from app.plans.model import Intent
from app.plans.routes import SecondApprover
from app.registry import service as registry
from app.registry.model import State, Tenant, Transition
from app.tenants import lifecycle, loss, purge, restoring
from app.tenants.backup_routes import BackupsConfigured
from app.tenants.lifecycle_schemas import PurgeIn, RestoreIn, TransitionIn, TransitionOf
from app.tenants.loss_schemas import PurgePlanOut
from app.tenants.routes import plain, require_match, tenant_answer
from app.tenants.schemas import TenantOut
from app.tenants.service import TenantExists

router = APIRouter(prefix="/v1/tenants/{tenant_id}", tags=["tenants"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What every transition is asked with, but for who asks: that depends on the role it needs."""

    tenant_id: str
    db: Db
    body: TransitionIn
    key: str | None
    if_match: Tags | None
    validate_only: bool

    async def answer(self, actor: Actor, transition: Transition) -> Response:
        """Moves the tenant, once under its key: 200 with the tenant as it is then."""

        async def move(conn: Connection) -> Tenant:
            tenant = await registry.require(conn, self.tenant_id, lock=True)
            await require_match(conn, tenant, self.if_match)
            return await lifecycle.move(conn, tenant, transition, reason=self.body.reason, origin=origin_of(actor))

        async def work(conn: Connection) -> Answer:
            return tenant_answer(200, await move(conn))

        if self.validate_only:
            async with self.db.transaction(keep=False) as conn:
                return plain(await move(conn))
        body = TransitionOf.of(self.tenant_id, self.body)
        route = f"POST /v1/tenants/{{tenant_id}}/{transition}"
        call = idempotency.call(caller=actor.id, route=route, key=self.key, body=body)
        return (await call.once(self.db, work)).response()


async def _asked(
    tenant_id: str,
    db: Db,
    key: Key,
    if_match: IfMatch,
    body: TransitionIn | None = None,
    validate_only: ValidateOnly = False,
) -> Asked:
    return Asked(
        tenant_id=tenant_id,
        db=db,
        body=body or TransitionIn.model_validate({}),
        key=key,
        if_match=if_match,
        validate_only=validate_only,
    )


async def _delete_grace(request: Request) -> timedelta:
    grace: timedelta = request.app.state.services.delete_grace
    return grace


AskedTransition = Annotated[Asked, Depends(_asked)]
DeleteGrace = Annotated[timedelta, Depends(_delete_grace)]
_RESPONSES = {200: {"headers": ETAG}, **problems(400, 404, 409, 412, 413, 422)}


@router.post("/suspend", summary="Suspend a tenant", response_model=TenantOut, responses=_RESPONSES)
async def suspend_tenant(asked: AskedTransition, actor: CurrentOperator) -> Response:
    """The database refuses the application role from now on: sessions that are connected, at their next statement.

    Everything is kept, API keys too, and the tenant's configuration can still be changed.
    """
    return await asked.answer(actor, Transition.SUSPEND)


@router.post("/resume", summary="Resume a suspended tenant", response_model=TenantOut, responses=_RESPONSES)
async def resume_tenant(asked: AskedTransition, actor: CurrentOperator) -> Response:
    """The database allows the application role again."""
    return await asked.answer(actor, Transition.RESUME)


@router.post(
    "/restore",
    summary="Undo the deletion of a tenant, or bring a purged one back",
    response_model=TenantOut | OperationOut,
    responses={
        200: done(TenantOut, "It was deleted, and is what it was before; or, purged, back within the preferred wait"),
        202: ACCEPTED,
        **problems(400, 404, 409, 412, 413, 422),
    },
)
async def restore_tenant(
    tenant_id: str,
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentAdmin,
    key: Key,
    wait: WaitSeconds,
    if_match: IfMatch,
    body: RestoreIn | None = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """A deleted tenant is at once what it was before: active, or suspended.

    Where no tenant has the id, a purged one comes back from its latest backup, or the one that is named: a worker
    restores it in one transaction, compares the checksums of all rows, and brings it to the latest version.
    """
    wanted = body or RestoreIn.model_validate({})
    origin = origin_of(actor)

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        tenant = await registry.find_locked(conn, tenant_id)
        if tenant is None:
            if if_match is not None:
                raise Missing(f"There is no tenant {tenant_id}; without If-Match it is restored from a backup.")
            operation = await restoring.request_restore(
                conn,
                registry.known_id(tenant_id),
                wanted.backup_id,
                operation_id=operation_id,
                reason=wanted.reason,
                origin=origin,
            )
            return operation_answer.accepted(operation, location=f"/v1/tenants/{tenant_id}")
        await require_match(conn, tenant, if_match)
        if wanted.backup_id is not None:
            raise TenantExists(f"Tenant {tenant_id} exists and is {tenant.state}: no backup takes its place.")
        return tenant_answer(
            200, await lifecycle.move(conn, tenant, Transition.RESTORE, reason=wanted.reason, origin=origin)
        )

    if validate_only:
        async with db.transaction(keep=False) as conn:
            never = operation_answer.new_id()
            await store(conn, never)
            return plain(await registry.require(conn, tenant_id), never=never)

    async def finished(conn: Connection, _: Operation) -> Answer:
        return tenant_answer(200, await registry.require(conn, tenant_id))

    route, asked = "POST /v1/tenants/{tenant_id}/restore", TransitionOf.of(tenant_id, body)
    call = idempotency.call(caller=actor.id, route=route, key=key, body=asked)
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=finished)
    return answer.response()


@router.post(
    "/purge",
    status_code=202,
    summary="Purge a deleted or failed tenant now, by plan and confirmation",
    response_model=OperationOut,
    responses={
        200: {
            "model": PurgePlanOut | OperationOut,
            "description": "The plan, with the confirmation to send back; or, done within the preferred wait, "
            "the operation",
        },
        202: ACCEPTED,
        **problems(400, 404, 409, 412, 413, 422),
    },
)
async def purge_tenant(
    tenant_id: str,
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentAdmin,
    configured: BackupsConfigured,
    second_approver: SecondApprover,
    key: Key,
    wait: WaitSeconds,
    if_match: IfMatch,
    body: PurgeIn | None = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Two calls. The first drops nothing: it answers with what would be lost, and a `confirmation`. The second, with
    that, is accepted from the same caller, once, within ten minutes, and while there is exactly that to lose.

    Then the tenant is backed up, unless that is waived, and everything it had is dropped; its API keys end. A failed
    tenant, of which there is nothing to back up, is purged like this too. What was backed up can be restored while no
    tenant has the id. 503 where no backup can be made and none is waived.
    """
    wanted = body or PurgeIn.model_validate({})

    async def planned(conn: Connection, tenant: Tenant) -> tuple[Intent, PurgePlanOut]:
        await require_match(conn, tenant, if_match)
        registry.require_transition(tenant, Transition.PURGE)
        if not wanted.waive_backup and tenant.schema_version is not None:
            await backups.require_possible(conn, configured=configured)
        return await loss.purge(conn, tenant, waive_backup=wanted.waive_backup)

    async def store(conn: Connection, operation_id: UUID, token: str) -> Answer:
        tenant = await registry.require(conn, tenant_id, lock=True)
        intent, _ = await planned(conn, tenant)
        confirmed = await plans.use_up(conn, token, intent, actor=actor.id, needs_approval=second_approver)
        operation = await purge.request_purge(
            conn,
            tenant,
            operation_id=operation_id,
            reason=wanted.reason,
            waive_backup=wanted.waive_backup,
            origin=origin_of(actor),
            planned=intent,
            confirmed=confirmed,
        )
        return operation_answer.accepted(operation, location=f"/v1/tenants/{tenant_id}")

    token = wanted.confirmation
    if token is None or validate_only:
        async with db.transaction(keep=not validate_only) as conn:
            intent, plan = await planned(conn, await registry.require(conn, tenant_id))
            if validate_only:
                await _checked(conn, store, token)
                return JSONResponse(plan.model_dump(mode="json"))
            await lifecycle.require_no_credentials(conn, wanted.reason)
            offered = await plans.offer(conn, intent, actor=actor.id, needs_approval=second_approver)
        return JSONResponse(plan.offered(offered))

    async def finished(_: Connection, operation: Operation) -> Answer:
        return Answer(status=200, body=OperationOut.of(operation).model_dump(mode="json"))

    route, asked = "POST /v1/tenants/{tenant_id}/purge", TransitionOf.of(tenant_id, body)
    call = idempotency.call(caller=actor.id, route=route, key=key, body=asked)
    answer = await operation_answer.start(
        db, waiter, call, wait=wait, request=lambda conn, new: store(conn, new, token), finished=finished
    )
    return answer.response()


async def _checked(
    conn: Connection, store: Callable[[Connection, UUID, str], Awaitable[Answer]], token: str | None
) -> None:
    """Of a dry run: what would be said to the confirmation, if there is one."""
    if token is not None:
        await store(conn, operation_answer.new_id(), token)


@router.delete("", summary="Delete a tenant", response_model=TenantOut, responses=_RESPONSES)
async def delete_tenant(
    tenant_id: str,
    db: Db,
    actor: CurrentAdmin,
    grace: DeleteGrace,
    if_match: IfMatch,
    reason: Annotated[Reason | None, Query(description="Why, for whoever asks later")] = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """Access stops at once; everything is kept until `purge_time`, and a restore brings it back until then.

    A tenant that is deleted already is answered as it is. GET still reads it; lists show it with `state=deleted`.
    """
    async with db.transaction(keep=not validate_only) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        await require_match(conn, tenant, if_match)
        if tenant.state is not State.DELETED:
            tenant = await lifecycle.move(
                conn, tenant, Transition.DELETE, reason=reason, origin=origin_of(actor), grace=grace
            )
    return plain(tenant) if validate_only else conditional.answer(TenantOut.of(tenant), None)
