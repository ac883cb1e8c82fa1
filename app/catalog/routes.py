"""GET /v1/catalog/features and /tiers; GET and PUT of one of them"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.catalog import queries, service
from app.catalog.schemas import (
    CatalogFeature,
    CatalogFeatures,
    CatalogTier,
    CatalogTiers,
    FeatureIn,
    FeatureName,
    TierIn,
    TierName,
)
from app.http import conditional
from app.http.auth import CurrentAdmin, CurrentViewer
from app.http.conditional import Exists, IfMatch, IfNoneMatch, Missing, MustBeNew, Tags
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.openapi import ETAG, NOT_MODIFIED
from app.operations.answer import origin_of

router = APIRouter(prefix="/v1/catalog", tags=["catalog"])
_READ: Final[dict[int | str, dict[str, Any]]] = {200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 422)}
_READ_ONE: Final[dict[int | str, dict[str, Any]]] = {**_READ, **problems(400, 404, 422)}


def _written(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"description": "Changed; of a dry run: as it would be", "headers": ETAG},
        201: {"model": model, "description": "Added to the catalogue", "headers": ETAG},
        **problems(400, 412, 413, 422),
    }


@router.get("/features", summary="List the features there are", response_model=CatalogFeatures, responses=_READ)
async def list_catalog_features(db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """By name; all of them."""
    async with db.connection() as conn:
        features = await queries.features(conn)
    return conditional.answer(CatalogFeatures(items=[CatalogFeature.of(feature) for feature in features]), known)


@router.get("/tiers", summary="List the tiers there are", response_model=CatalogTiers, responses=_READ)
async def list_catalog_tiers(db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """The lowest first; all of them."""
    async with db.connection() as conn:
        tiers = await queries.tiers(conn)
    return conditional.answer(CatalogTiers(items=[CatalogTier.of(tier) for tier in tiers]), known)


@router.get("/features/{name}", summary="Read a feature", response_model=CatalogFeature, responses=_READ_ONE)
async def get_catalog_feature(
    name: Annotated[FeatureName, Path()], db: Db, _: CurrentViewer, known: IfNoneMatch
) -> Response:
    """Its tag is what `If-Match` takes to change it."""
    async with db.connection() as conn:
        feature = await service.require_feature(conn, name)
    return conditional.answer(CatalogFeature.of(feature), known)


@router.get("/tiers/{name}", summary="Read a tier", response_model=CatalogTier, responses=_READ_ONE)
async def get_catalog_tier(name: Annotated[TierName, Path()], db: Db, _: CurrentViewer, known: IfNoneMatch) -> Response:
    """Its tag is what `If-Match` takes to change it."""
    async with db.connection() as conn:
        tier = await service.require_tier(conn, name)
    return conditional.answer(CatalogTier.of(tier), known)


@router.put(
    "/features/{name}",
    summary="Add or change a feature",
    response_model=CatalogFeature,
    responses=_written(CatalogFeature),
)
async def put_catalog_feature(
    name: Annotated[FeatureName, Path()],
    body: FeatureIn,
    db: Db,
    actor: CurrentAdmin,
    if_match: IfMatch,
    must_be_new: MustBeNew,
    validate_only: ValidateOnly = False,
) -> Response:
    """Tenants get, or lose, what follows for them, in the same transaction."""
    origin, wanted = origin_of(actor), body.feature(name)
    async with db.transaction(keep=not validate_only) as conn:
        await queries.lock(conn, actor=origin.actor)
        before = await service.feature(conn, name)
        _require(None if before is None else CatalogFeature.of(before), if_match, must_be_new=must_be_new)
        await service.put_feature(conn, wanted, before, origin=origin)
    return _written_answer(CatalogFeature.of(wanted), created=before is None, validate_only=validate_only)


@router.put(
    "/tiers/{name}", summary="Add or change a tier", response_model=CatalogTier, responses=_written(CatalogTier)
)
async def put_catalog_tier(
    name: Annotated[TierName, Path()],
    body: TierIn,
    db: Db,
    actor: CurrentAdmin,
    if_match: IfMatch,
    must_be_new: MustBeNew,
    validate_only: ValidateOnly = False,
) -> Response:
    """Its tenants get, or lose, what follows for them, in the same transaction."""
    origin, wanted = origin_of(actor), body.tier(name)
    async with db.transaction(keep=not validate_only) as conn:
        await queries.lock(conn, actor=origin.actor)
        before = await service.tier(conn, name)
        _require(None if before is None else CatalogTier.of(before), if_match, must_be_new=must_be_new)
        await service.put_tier(conn, wanted, before, origin=origin)
    return _written_answer(CatalogTier.of(wanted), created=before is None, validate_only=validate_only)


def _require(current: BaseModel | None, if_match: Tags | None, *, must_be_new: bool) -> None:
    """Raises Missing, Changed or Exists."""
    if current is None:
        if if_match is not None:
            raise Missing("The catalogue does not have it; without If-Match it is added.")
        return
    if must_be_new:
        raise Exists("The catalogue has it.")
    conditional.require_match(if_match, conditional.tag_of(conditional.body_of(current)))


def _written_answer(document: BaseModel, *, created: bool, validate_only: bool) -> Response:
    if validate_only:
        return JSONResponse(document.model_dump(mode="json"))
    answer = conditional.answer(document, None)
    answer.status_code = 201 if created else 200
    return answer
