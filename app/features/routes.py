"""GET /v1/tenants/{id}/features; PUT and DELETE of one of them"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, Response

from app.catalog.schemas import FeatureName
from app.db.pool import Connection
from app.features import queries, service
from app.features.model import TenantFeature
from app.features.schemas import FeatureOverride, FeaturesOut
from app.http import conditional
from app.http.auth import CurrentOperator, CurrentViewer
from app.http.conditional import IfMatch, IfNoneMatch, Tags
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.openapi import ETAG, NOT_MODIFIED
from app.operations.answer import origin_of
from app.registry import service as registry

router = APIRouter(prefix="/v1/tenants/{tenant_id}/features", tags=["features"])
_WRITTEN: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The tenant's features, changed; of a dry run: as they would be", "headers": ETAG}
}


@router.get(
    "",
    summary="Read a tenant's features",
    response_model=FeaturesOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_tenant_features(tenant_id: str, db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """Each with what decides whether it is enabled: the catalogue's default, the tier, or the tenant itself."""
    async with db.connection() as conn:
        tenant = await registry.require(conn, tenant_id)
        features = await queries.of_tenant(conn, tenant.tenant_id)
    return conditional.answer(FeaturesOut.of(features), known)


@router.put(
    "/{name}",
    summary="Enable or disable a feature for a tenant",
    response_model=FeaturesOut,
    responses={**_WRITTEN, **problems(400, 404, 409, 412, 413, 422)},
)
async def put_tenant_feature(
    tenant_id: str,
    name: Annotated[FeatureName, Path()],
    body: FeatureOverride,
    db: Db,
    actor: CurrentOperator,
    if_match: IfMatch,
    validate_only: ValidateOnly = False,
) -> Response:
    """From now on it is the tenant's own choice, whatever its tier includes. What it requires must be enabled, and
    nothing that is enabled may require what is to be disabled: 409 otherwise.
    """
    async with db.transaction(keep=not validate_only) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        await _require_match(conn, tenant_id, if_match)
        changed = await service.override(conn, tenant, name, enabled=body.enabled, origin=origin_of(actor))
    return _answer(changed, validate_only=validate_only)


@router.delete(
    "/{name}",
    summary="Leave a feature to the tenant's tier",
    response_model=FeaturesOut,
    responses={**_WRITTEN, **problems(400, 404, 409, 412, 422)},
)
async def reset_tenant_feature(
    tenant_id: str,
    name: str,
    db: Db,
    actor: CurrentOperator,
    if_match: IfMatch,
    validate_only: ValidateOnly = False,
) -> Response:
    """The tier, or the catalogue's default, decides again. A feature that the catalogue does not know is gone."""
    async with db.transaction(keep=not validate_only) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        await _require_match(conn, tenant_id, if_match)
        changed = await service.reset(conn, tenant, name, origin=origin_of(actor))
    return _answer(changed, validate_only=validate_only)


async def _require_match(conn: Connection, tenant_id: str, if_match: Tags | None) -> None:
    """Raises Changed."""
    if if_match is not None:
        current = FeaturesOut.of(await queries.of_tenant(conn, tenant_id))
        conditional.require_match(if_match, conditional.tag_of(conditional.body_of(current)))


def _answer(features: list[TenantFeature], *, validate_only: bool) -> Response:
    document = FeaturesOut.of(features)
    return JSONResponse(document.model_dump(mode="json")) if validate_only else conditional.answer(document, None)
