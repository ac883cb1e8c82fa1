"""POST, GET /v1/tenants and GET /v1/tenants/{id}"""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from app.db.pool import Connection
from app.http import idempotency, pagination
from app.http.auth import CurrentOperator, CurrentViewer
from app.http.dependencies import Db, Tokens, problems
from app.http.idempotency import Answer, Key
from app.http.prefer import WaitSeconds
from app.operations import answer as operation_answer
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Operation
from app.operations.schemas import OperationOut
from app.registry import service as registry
from app.registry.model import State
from app.registry.service import TenantFilter
from app.tenants import service
from app.tenants.schemas import OrderBy, TenantIn, TenantOut, TenantPage, Tier

router = APIRouter(prefix="/v1/tenants", tags=["tenants"])


@router.post(
    "",
    status_code=202,
    summary="Provision a tenant",
    response_model=OperationOut,
    responses={
        201: {"model": TenantOut, "description": "Active within the preferred wait"},
        **problems(400, 409, 413, 422),
    },
)
async def create_tenant(
    body: TenantIn, db: Db, waiter: CurrentWaiter, actor: CurrentOperator, key: Key, wait: WaitSeconds
) -> JSONResponse:
    """Stores the request and queues the work; with `Prefer: wait=N` answers 201 when the tenant is active.

    A tenant that is `failed` is repaired by the same request again.
    """
    request = body.to_model(caller=actor.name)
    location = f"/v1/tenants/{request.tenant_id}"

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        operation = await service.request_provisioning(
            conn, request, operation_id=operation_id, origin=origin_of(actor)
        )
        return operation_answer.accepted(operation, location=location)

    async def finished(conn: Connection, _: Operation) -> Answer:
        tenant = await registry.require(conn, request.tenant_id)
        return Answer(status=201, body=TenantOut.of(tenant).model_dump(mode="json"))

    call = idempotency.call(caller=actor.id, route="POST /v1/tenants", key=key, body=body)
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=finished)
    return answer.response()


@router.get(
    "",
    summary="List tenants",
    response_model=TenantPage,
    responses=problems(400, 422),
)
async def list_tenants(
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: Annotated[int | None, Query(description="50 by default, 500 at most", lt=2**31)] = None,
    page_token: Annotated[str | None, Query(max_length=2000)] = None,
    state: Annotated[State | None, Query(description="Deleted tenants are listed only on demand")] = None,
    tier: Annotated[Tier | None, Query()] = None,
    q: Annotated[
        str | None, Query(min_length=3, max_length=255, pattern=r"^[^\x00-\x1f]+$", description="Part of id or name")
    ] = None,
    order_by: Annotated[OrderBy, Query()] = "id",
) -> JSONResponse:
    """One page, in the order asked for. `next_page_token` is absent on the last one."""
    query = {"state": state, "tier": tier, "q": q, "order_by": order_by}
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    if after is not None and order_by.endswith("created_at"):
        pagination.require_timestamp(after[0])
    wanted = TenantFilter(state=state, tier=tier, contains=q, order_by=order_by)
    async with db.connection() as conn:
        tenants, following = await registry.page(conn, wanted, after=after, size=size)
    page = TenantPage(
        items=[TenantOut.of(tenant) for tenant in tenants], next_page_token=tokens.issue(query, following)
    )
    body = page.model_dump(mode="json")
    if page.next_page_token is None:
        del body["next_page_token"]
    return JSONResponse(body)


@router.get("/{tenant_id}", summary="Read a tenant", responses=problems(404, 422))
async def get_tenant(tenant_id: str, db: Db, _: CurrentViewer) -> TenantOut:
    """A failed tenant reads 200, with its error."""
    async with db.connection() as conn:
        return TenantOut.of(await registry.require(conn, tenant_id))
