"""GET, PUT and PATCH /v1/tenants/{id}/config, its history, and the way back"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from app.config import history, service
from app.config.model import TenantSettings
from app.config.schemas import ConfigIn, ConfigOut, RollbackIn, VersionOut, VersionPage
from app.db.pool import Connection
from app.http import conditional, idempotency, pagination
from app.http.auth import CurrentOperator, CurrentViewer, CurrentViewerOrOwnReader
from app.http.conditional import IfMatch, IfNoneMatch, RequiredIfMatch, Tags
from app.http.dependencies import Db, Tokens, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ETAG, NOT_MODIFIED, merge_patch
from app.http.pagination import PageSize, PageToken
from app.operations.answer import origin_of
from app.registry import service as registry
from app.registry.model import Tenant

router = APIRouter(prefix="/v1/tenants/{tenant_id}/config", tags=["configuration"])


@router.get(
    "",
    summary="Read a tenant's configuration",
    response_model=ConfigOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_config(tenant_id: str, db: Db, _: CurrentViewerOrOwnReader, known: IfNoneMatch) -> Response:
    """404 until the tenant has a schema. A reader's key for this tenant is enough."""
    async with db.connection() as conn:
        settings = await service.require(conn, tenant_id)
    return conditional.answer(ConfigOut.of(settings), known)


def _tag(settings: TenantSettings) -> str:
    return conditional.tag_of(conditional.body_of(ConfigOut.of(settings)))


async def _locked(conn: Connection, tenant_id: str, if_match: Tags | None) -> tuple[Tenant, TenantSettings]:
    """A tenant that nobody else can change now. Raises TenantNotFound, TenantStateForbids and Changed."""
    tenant = await registry.require(conn, tenant_id, lock=True)
    registry.require_changeable(tenant)
    settings = await service.require(conn, tenant_id)
    conditional.require_match(if_match, _tag(settings))
    return tenant, settings


def _changed(settings: TenantSettings, *, validate_only: bool) -> Response:
    """Of a dry run there is nothing that a tag could be of."""
    document = ConfigOut.of(settings)
    return JSONResponse(document.model_dump()) if validate_only else conditional.answer(document, None)


@router.put(
    "",
    summary="Replace a tenant's configuration",
    response_model=ConfigOut,
    responses={200: {"headers": ETAG}, **problems(400, 404, 409, 412, 413, 422, 428)},
)
async def put_config(
    tenant_id: str,
    db: Db,
    actor: CurrentOperator,
    if_match: RequiredIfMatch,
    body: ConfigIn,
    validate_only: ValidateOnly = False,
) -> Response:
    """The whole document: what is left out has its default again, as at a tenant's creation. Needs `If-Match`."""
    async with db.transaction(keep=not validate_only) as conn:
        tenant, before = await _locked(conn, tenant_id, if_match)
        after = await service.replace(conn, tenant, before, body.values(), origin=origin_of(actor))
    return _changed(after, validate_only=validate_only)


@router.patch(
    "",
    summary="Change a tenant's configuration",
    response_model=ConfigOut,
    responses={200: {"headers": ETAG}, **problems(400, 404, 409, 412, 413, 422)},
    openapi_extra=merge_patch("ConfigIn"),
)
async def patch_config(
    tenant_id: str,
    body: ConfigIn,
    db: Db,
    actor: CurrentOperator,
    if_match: IfMatch,
    validate_only: ValidateOnly = False,
) -> Response:
    """JSON Merge Patch: objects are merged, arrays replaced; null removes, and a member that is removed has its
    default. `If-Match` guards against somebody else's change.
    """
    async with db.transaction(keep=not validate_only) as conn:
        tenant, before = await _locked(conn, tenant_id, if_match)
        after = await service.merge(conn, tenant, before, body.patch(), origin=origin_of(actor))
    return _changed(after, validate_only=validate_only)


@router.get(
    "/history",
    summary="List the versions of a tenant's configuration",
    response_model=VersionPage,
    responses=problems(400, 404, 422),
)
async def list_config_history(
    tenant_id: str,
    db: Db,
    tokens: Tokens,
    _: CurrentViewer,
    page_size: PageSize = None,
    page_token: PageToken = None,
) -> JSONResponse:
    """The newest first, with what each changed in whichever document, over the API or in SQL."""
    query = {"list": "config_history", "tenant_id": tenant_id}
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    before = None if after is None else pagination.require_number(after[0])
    async with db.connection() as conn:
        tenant = await registry.require(conn, tenant_id)
        versions, following = await history.page(conn, tenant, before=before, size=size)
    token = tokens.issue(query, None if following is None else (str(following), tenant_id))
    return pagination.answer([VersionOut.of(version) for version in versions], token)


@router.post(
    "/rollback",
    summary="Go back to a version of a tenant's configuration",
    response_model=VersionOut,
    responses=problems(400, 404, 409, 412, 413, 422),
)
async def rollback_config(
    tenant_id: str,
    body: RollbackIn,
    db: Db,
    actor: CurrentOperator,
    if_match: IfMatch,
    key: Key,
    validate_only: ValidateOnly = False,
) -> Response:
    """Makes a new version, equal to the old one in every document; the state of the tenant stays what it is.

    Answers with the newest version: where nothing was different, that is no new one. `If-Match` takes the ETag of the
    configuration.
    """

    async def restore(conn: Connection) -> Answer:
        tenant, _ = await _locked(conn, tenant_id, if_match)
        newest = await history.rollback(conn, tenant, body.version, reason=body.reason, origin=origin_of(actor))
        return Answer(status=200, body=VersionOut.of(newest).model_dump(mode="json"))

    if validate_only:
        async with db.transaction(keep=False) as conn:
            return (await restore(conn)).response()
    addressed = _Addressed(tenant_id=tenant_id, **body.model_dump(exclude_unset=True))
    call = idempotency.call(
        caller=actor.id, route="POST /v1/tenants/{tenant_id}/config/rollback", key=key, body=addressed
    )
    return (await call.once(db, restore)).response()


class _Addressed(RollbackIn):
    """With the tenant, for which it is another request than for the next one."""

    tenant_id: str
