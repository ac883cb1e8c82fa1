"""POST /v1/tenants/{id}/suspend, /resume and /restore; DELETE /v1/tenants/{id}"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from app.db.pool import Connection
from app.http import conditional, idempotency
from app.http.auth import Actor, CurrentAdmin, CurrentOperator
from app.http.conditional import IfMatch, Tags
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ETAG
from app.http.values import Reason
from app.operations.answer import origin_of
from app.registry import service as registry
from app.registry.model import State, Tenant, Transition
from app.tenants import lifecycle
from app.tenants.lifecycle_schemas import TransitionIn, TransitionOf
from app.tenants.routes import plain, require_match, tenant_answer
from app.tenants.schemas import TenantOut

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
        body = TransitionOf(tenant_id=self.tenant_id, **self.body.model_dump(exclude_unset=True))
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


@router.post("/restore", summary="Undo the deletion of a tenant", response_model=TenantOut, responses=_RESPONSES)
async def restore_tenant(asked: AskedTransition, actor: CurrentAdmin) -> Response:
    """A deleted tenant is again what it was before: active, or suspended."""
    return await asked.answer(actor, Transition.RESTORE)


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
