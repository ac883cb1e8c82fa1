"""GET and PATCH /v1/tenants/{id}/limits, GET .../usage; /v1/catalog/limits"""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, Response

from app.http import conditional
from app.http.auth import CurrentAdmin, CurrentOperator, CurrentViewer
from app.http.conditional import Exists, IfMatch, IfNoneMatch, Missing, MustBeNew
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.openapi import ETAG, NOT_MODIFIED, merge_patch
from app.limits import queries, service, usage
from app.limits.schemas import (
    LimitIn,
    LimitList,
    LimitName,
    LimitOut,
    LimitsChanged,
    LimitsOut,
    LimitsPatch,
    TenantUsageOut,
)
from app.operations.answer import origin_of
from app.registry import service as registry

router = APIRouter(prefix="/v1", tags=["limits"])
_EVENTS = 20


@router.get(
    "/tenants/{tenant_id}/limits",
    summary="Read a tenant's limits",
    response_model=LimitsOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 409, 422)},
)
async def get_limits(tenant_id: str, db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """Each limit's value, and whether it comes from the default, the tier or the tenant itself."""
    async with db.connection() as conn:
        limits = await service.get(conn, await registry.require(conn, tenant_id))
    return conditional.answer(LimitsOut.of(limits), known)


@router.patch(
    "/tenants/{tenant_id}/limits",
    summary="Change a tenant's limits",
    response_model=LimitsChanged,
    responses={200: {"headers": ETAG}, **problems(400, 404, 409, 412, 413, 422)},
    openapi_extra=merge_patch("LimitsPatch"),
)
async def patch_limits(
    tenant_id: str,
    body: LimitsPatch,
    db: Db,
    actor: CurrentOperator,
    if_match: IfMatch,
    validate_only: ValidateOnly = False,
) -> Response:
    """JSON Merge Patch. A limit may be lower than what is used: nothing is lost, and there is no more of it then."""
    async with db.transaction(keep=not validate_only) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        registry.require_changeable(tenant)
        before = await service.get(conn, tenant)
        conditional.require_match(if_match, conditional.tag_of(conditional.body_of(LimitsOut.of(before))))
        after = await service.change(conn, tenant, body.root, before=before, origin=origin_of(actor))
        exceeded = await service.exceeded(conn, tenant, after)
    answer = JSONResponse(LimitsChanged.after(after, exceeded).model_dump(mode="json"))
    if not validate_only:
        answer.headers["ETag"] = conditional.tag_of(conditional.body_of(LimitsOut.of(after)))
    return answer


@router.get(
    "/tenants/{tenant_id}/usage",
    summary="Read how much of its limits a tenant uses",
    response_model=TenantUsageOut,
    responses=problems(400, 404, 409, 422),
)
async def get_usage(tenant_id: str, db: Db, _: CurrentViewer) -> TenantUsageOut:
    """Small tables are counted; of large ones the counter is told, which every commit settles."""
    async with db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id)
        measured = await usage.measure(conn, tenant)
        events = await queries.events(conn, tenant.tenant_id, limit=_EVENTS)
    return TenantUsageOut.of(measured, events)


@router.get(
    "/catalog/limits",
    summary="List the limits that there are",
    response_model=LimitList,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 422)},
)
async def list_catalog_limits(db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    async with db.connection() as conn:
        limits = await queries.catalogue(conn)
    return conditional.answer(LimitList.of(limits), known)


@router.get(
    "/catalog/limits/{name}",
    summary="Read a limit of the catalogue",
    response_model=LimitOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_catalog_limit(
    name: Annotated[LimitName, Path()], db: Db, _: CurrentViewer, known: IfNoneMatch
) -> Response:
    async with db.connection() as conn:
        limit = await service.require(conn, name)
    return conditional.answer(LimitOut.of(limit), known)


@router.put(
    "/catalog/limits/{name}",
    summary="Add a limit to the catalogue, or change it",
    response_model=LimitOut,
    responses={
        200: {"headers": ETAG, "description": "Changed; of a dry run: as it would be"},
        201: {"model": LimitOut, "headers": ETAG, "description": "Added"},
        **problems(400, 412, 413, 422),
    },
)
async def put_catalog_limit(
    name: Annotated[LimitName, Path()],
    body: LimitIn,
    db: Db,
    actor: CurrentAdmin,
    if_match: IfMatch,
    must_be_new: MustBeNew,
    validate_only: ValidateOnly = False,
) -> Response:
    """The whole of it. Tenants without a value of their own follow the default, and what their tier says, at once."""
    wanted = body.limit(name)
    async with db.transaction(keep=not validate_only) as conn:
        before = await service.find(conn, name, lock=True)
        if before is None and if_match is not None:
            raise Missing(f"There is no limit {name}; without If-Match it is added.")
        if before is not None:
            if must_be_new:
                raise Exists(f"Limit {name} exists.")
            conditional.require_match(if_match, conditional.tag_of(conditional.body_of(LimitOut.of(before))))
        await service.define(conn, wanted, before=before, origin=origin_of(actor))
    if validate_only:
        return JSONResponse(LimitOut.of(wanted).model_dump(mode="json"))
    answer = conditional.answer(LimitOut.of(wanted), None)
    answer.status_code = 201 if before is None else 200
    return answer
