"""POST and GET /v1/tenants; GET, PUT and PATCH /v1/tenants/{id}"""

from dataclasses import replace
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from app.catalog.schemas import FeatureName, TierName
from app.db.pool import Connection
from app.errors import FieldError, Invalid
from app.http import conditional, idempotency, pagination
from app.http.auth import CurrentOperator, CurrentViewer
from app.http.conditional import Exists, IfMatch, IfNoneMatch, Missing, MustBeNew, Tags
from app.http.dependencies import Db, Tokens, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ACCEPTED, ETAG, NOT_MODIFIED, done, merge_patch
from app.http.pagination import PageSize, PageToken
from app.http.prefer import WaitSeconds
from app.integrations.routes import CurrentRules
from app.operations import answer as operation_answer
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Operation
from app.operations.schemas import OperationOut
from app.registry import service as registry
from app.registry.model import State, Tenant
from app.registry.service import TenantFilter
from app.tenants import changes, service, whole
from app.tenants.schemas import (
    NewTenantId,
    OrderBy,
    SearchedFor,
    TenantFull,
    TenantIn,
    TenantOut,
    TenantPage,
    TenantPatch,
    TenantPut,
)

router = APIRouter(prefix="/v1/tenants", tags=["tenants"])


@router.post(
    "",
    status_code=202,
    summary="Provision a tenant",
    response_model=OperationOut,
    responses={
        200: {"model": TenantOut, "description": "Of a dry run: the tenant as it would be"},
        201: done(TenantOut, "Active within the preferred wait", tenant=True),
        202: ACCEPTED,
        **problems(400, 409, 413, 422),
    },
)
async def create_tenant(
    body: TenantIn,
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    key: Key,
    wait: WaitSeconds,
    rules: CurrentRules,
    validate_only: ValidateOnly = False,
) -> Response:
    """Stores the request and queues the work; with `Prefer: wait=N` answers 201 when the tenant is active.

    A tenant that is `failed` is repaired by the same request again.
    """
    request = body.request(body.tenant_id, caller=actor.name, integrations=rules)
    location = f"/v1/tenants/{request.tenant_id}"
    origin = origin_of(actor)

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        operation = await service.request_provisioning(conn, request, operation_id=operation_id, origin=origin)
        return operation_answer.accepted(operation, location=location)

    if validate_only:
        async with db.transaction(keep=False) as conn:
            never = operation_answer.new_id()
            await store(conn, never)
            return plain(await registry.require(conn, request.tenant_id), never=never)

    async def finished(conn: Connection, _: Operation) -> Answer:
        return tenant_answer(201, await registry.require(conn, request.tenant_id))

    call = idempotency.call(caller=actor.id, route="POST /v1/tenants", key=key, body=body)
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=finished)
    return answer.response()


def plain(tenant: Tenant, *, never: UUID | None = None) -> JSONResponse:
    """Of a dry run: there is nothing that a tag could be of, nor the operation `never`."""
    if never is not None and tenant.last_operation_id == str(never):
        tenant = replace(tenant, last_operation_id=None)
    return JSONResponse(TenantOut.of(tenant).model_dump(mode="json"))


def tenant_answer(status: int, tenant: Tenant) -> Answer:
    """With its tag."""
    document = TenantOut.of(tenant)
    return Answer(status=status, body=document.model_dump(mode="json"), headers={"ETag": _tag(document)})


def _tag(document: TenantOut) -> str:
    return conditional.tag_of(conditional.body_of(document))


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
    page_size: PageSize = None,
    page_token: PageToken = None,
    state: Annotated[State | None, Query(description="Deleted tenants are listed only on demand")] = None,
    tier: Annotated[TierName | None, Query()] = None,
    feature: Annotated[FeatureName | None, Query(description="A feature that is enabled")] = None,
    schema_version: Annotated[int | None, Query(ge=0, lt=2**31)] = None,
    q: Annotated[SearchedFor | None, Query(description="Part of id or name")] = None,
    order_by: Annotated[OrderBy, Query()] = "id",
) -> JSONResponse:
    """One page, in the order asked for. `next_page_token` is absent on the last one."""
    query = {
        "list": "tenants",
        "state": state,
        "tier": tier,
        "feature": feature,
        "schema_version": schema_version,
        "q": q,
        "order_by": order_by,
    }
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    if after is not None and order_by.endswith("created_at"):
        pagination.require_timestamp(after[0])
    wanted = TenantFilter(
        state=state, tier=tier, feature=feature, schema_version=schema_version, contains=q, order_by=order_by
    )
    async with db.connection() as conn:
        tenants, following = await registry.page(conn, wanted, after=after, size=size)
    return pagination.answer([TenantOut.of(tenant) for tenant in tenants], tokens.issue(query, following))


@router.get(
    "/{tenant_id}",
    summary="Read a tenant",
    response_model=TenantOut | TenantFull,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_tenant(
    tenant_id: str,
    db: Db,
    _: CurrentViewer,
    known: IfNoneMatch,
    view: Annotated[
        Literal["basic", "full"], Query(description="`full`: with configuration, features, limits and health")
    ] = "basic",
) -> Response:
    """A failed tenant reads 200, with its error."""
    async with db.connection() as conn:
        tenant = await registry.require(conn, tenant_id)
        document = TenantOut.of(tenant) if view == "basic" else await _whole(conn, tenant)
    return conditional.answer(document, known)


async def _whole(conn: Connection, tenant: Tenant) -> TenantFull:
    settings, features, health = await whole.parts(conn, tenant)
    return TenantFull.whole(tenant, settings, features, health)


@router.put(
    "/{tenant_id}",
    status_code=202,
    summary="Provision a tenant, idempotent by its id",
    response_model=OperationOut,
    responses={
        200: done(TenantOut, "This same request has created it already; of a dry run: as it would be", tenant=True),
        201: done(TenantOut, "Active within the preferred wait", tenant=True),
        202: ACCEPTED,
        **problems(400, 409, 412, 413, 422),
    },
)
async def put_tenant(
    tenant_id: Annotated[NewTenantId, Path()],
    body: TenantPut,
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    wait: WaitSeconds,
    rules: CurrentRules,
    if_match: IfMatch,
    must_be_new: MustBeNew,
    validate_only: ValidateOnly = False,
) -> Response:
    """The same request may be repeated: it is compared with the one that created the tenant, not with today's state.

    A tenant that is `failed` is repaired by it; another request for the same id is 409.
    """
    if body.tenant_id not in {None, tenant_id}:
        raise Invalid(
            "The request is not valid; see errors.",
            errors=[FieldError(pointer="/tenant_id", detail="is not the one in the path")],
        )
    request = body.request(tenant_id, caller=actor.name, integrations=rules)
    location, origin = f"/v1/tenants/{tenant_id}", origin_of(actor)

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        if if_match is not None or must_be_new:
            await _require(conn, tenant_id, await registry.find(conn, tenant_id), if_match, must_be_new=must_be_new)
        operation, tenant = await changes.put(conn, request, operation_id=operation_id, origin=origin)
        if must_be_new and (operation is None or operation.id != operation_id):  # somebody was a moment faster
            raise Exists(f"Tenant {tenant_id} exists.")
        if operation is None:
            return idempotency.with_headers(tenant_answer(200, tenant), Location=location)
        return operation_answer.accepted(operation, location=location)

    if validate_only:
        async with db.transaction(keep=False) as conn:
            never = operation_answer.new_id()
            await store(conn, never)
            return plain(await registry.require(conn, tenant_id), never=never)

    async def finished(conn: Connection, _: Operation) -> Answer:
        return tenant_answer(201, await registry.require(conn, tenant_id))

    call = idempotency.without_key()
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=finished)
    return answer.response()


async def _require(
    conn: Connection, tenant_id: str, tenant: Tenant | None, if_match: Tags | None, *, must_be_new: bool
) -> None:
    """Raises Missing, Changed or Exists."""
    if tenant is None:
        if if_match is not None:
            raise Missing(f"There is no tenant {tenant_id}; without If-Match it is created.")
        return
    await require_match(conn, tenant, if_match)
    if must_be_new:
        raise Exists(f"Tenant {tenant_id} exists.")


async def require_match(conn: Connection, tenant: Tenant, if_match: Tags | None) -> None:
    """Raises Changed unless it is the tag of either view; the whole one is read only where it decides."""
    if if_match is None or if_match.match_strongly(_tag(TenantOut.of(tenant))):
        return
    conditional.require_match(if_match, _tag(await _whole(conn, tenant)))


@router.patch(
    "/{tenant_id}",
    summary="Change a tenant's name, tier or billing contact",
    response_model=TenantOut,
    responses={200: {"headers": ETAG}, **problems(400, 404, 409, 412, 413, 422)},
    openapi_extra=merge_patch("TenantPatch"),
)
async def patch_tenant(
    tenant_id: str,
    body: TenantPatch,
    db: Db,
    actor: CurrentOperator,
    if_match: IfMatch,
    validate_only: ValidateOnly = False,
) -> Response:
    """JSON Merge Patch. `If-Match` takes the ETag of either view and guards against somebody else's change."""
    async with db.transaction(keep=not validate_only) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        await require_match(conn, tenant, if_match)
        changed = await changes.change(conn, tenant, body.changes(), origin=origin_of(actor))
    return plain(changed) if validate_only else conditional.answer(TenantOut.of(changed), None)
