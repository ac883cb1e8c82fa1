"""POST /ofrep/v1/evaluate/flags, and /{key}: OpenFeature's remote evaluation protocol, version 0.2

Its failures are the protocol's own where it has a word for them, and problems otherwise.
"""

import json
from typing import Any, Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.features.cache import FlagCache, Kept
from app.http import conditional
from app.http.auth import Actor, CurrentReader, is_foreign
from app.http.dependencies import PROBLEMS, problems
from app.http.openapi import ETAG, IF_NONE_MATCH, NOT_MODIFIED
from app.log import about

router = APIRouter(prefix="/ofrep/v1/evaluate/flags", tags=["ofrep"])

_FLAG: Final[dict[str, Any]] = {
    "key": "ai_insights",
    "value": True,
    "reason": "TARGETING_MATCH",
    "variant": "on",
    "metadata": {"source": "tier", "known": True},
}


class Flag(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_FLAG]})

    key: str
    value: bool
    reason: Literal["DEFAULT", "TARGETING_MATCH"]
    variant: Literal["on", "off"]
    metadata: dict[str, str | bool] = Field(
        description="`source`, and whether the catalogue knows it, as features have"
    )


class Flags(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"flags": [_FLAG]}]})

    flags: list[Flag]


class EvaluationFailure(BaseModel):
    """As the protocol has it; `key` where one flag was asked for."""

    key: str | None = None
    errorCode: Literal["PARSE_ERROR", "TARGETING_KEY_MISSING", "INVALID_CONTEXT", "FLAG_NOT_FOUND"]  # noqa: N815
    errorDetails: str  # noqa: N815


class _Refused(Exception):
    def __init__(self, code: str, details: str, *, status: int = 400) -> None:
        super().__init__(details)
        self.code = code
        self.details = details
        self.status = status

    def response(self, key: str | None = None) -> Response:
        body = {"errorCode": self.code, "errorDetails": self.details} | ({} if key is None else {"key": key})
        return Response(json.dumps(body), status_code=self.status, media_type="application/json")


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["context"],
                    "properties": {
                        "context": {
                            "type": "object",
                            "required": ["targetingKey"],
                            "properties": {"targetingKey": {"type": "string", "description": "A tenant's id"}},
                        }
                    },
                    "examples": [{"context": {"targetingKey": "acme_corp"}}],
                }
            }
        },
    }
}


def _failed(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    failure = {"schema": {"$ref": "#/components/schemas/EvaluationFailure"}}
    content = {"application/json": failure, **PROBLEMS[status]["content"]}
    return {status: {"model": EvaluationFailure, "description": description, "content": content}}


_WRONG: Final = _failed(400, "PARSE_ERROR, TARGETING_KEY_MISSING or INVALID_CONTEXT")


@router.post(
    "",
    summary="Evaluate all flags of a tenant (OFREP)",
    response_model=Flags,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **_WRONG, **problems(413, 422)},
    openapi_extra={**_BODY, "parameters": [IF_NONE_MATCH]},
)
async def evaluate_flags(request: Request, actor: CurrentReader) -> Response:
    """A tenant's features; `context.targetingKey` is its id. Nothing changes, so that no Idempotency-Key is taken."""
    try:
        kept = await _flags(request, actor)
    except _Refused as refused:
        return refused.response()
    if await _is_known(request, kept.tag):
        return Response(status_code=304, headers={"ETag": kept.tag})
    return Response(kept.flags.all, media_type="application/json", headers={"ETag": kept.tag})


@router.post(
    "/{key}",
    summary="Evaluate one flag of a tenant (OFREP)",
    response_model=Flag,
    responses={**_WRONG, **_failed(404, "FLAG_NOT_FOUND"), **problems(413, 422)},
    openapi_extra=_BODY,
)
async def evaluate_flag(key: str, request: Request, actor: CurrentReader) -> Response:
    """A feature of a tenant; `context.targetingKey` is its id."""
    try:
        kept = await _flags(request, actor)
        found = kept.flags.each.get(key)
        if found is None:
            raise _Refused("FLAG_NOT_FOUND", "There is no such feature.", status=404)  # noqa: TRY301
    except _Refused as refused:
        return refused.response(key)
    return Response(found, media_type="application/json")


async def _is_known(request: Request, tag: str) -> bool:
    """Asked of the request itself: this is called all the time, and a dependency would be a tenth of it.

    Raises InvalidEntityTag.
    """
    given = request.headers.getlist("If-None-Match")
    if not given or given == [tag]:
        return bool(given)
    known = await conditional.if_none_match(given)
    return known is not None and known.match_weakly(tag)


async def _flags(request: Request, actor: Actor) -> Kept:
    """Raises _Refused: a tenant that is not the caller's is as unknown as one that there is not."""
    cache: FlagCache = request.app.state.services.flags
    wanted = _targeting_key(await request.body())
    about(tenant_id=wanted)
    kept = None if is_foreign(actor, wanted) else await cache.get(wanted)
    if kept is None:
        raise _Refused("INVALID_CONTEXT", "The targetingKey is the id of no tenant that has features.")
    return kept


def _targeting_key(body: bytes) -> str:
    """Raises _Refused."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise _Refused("PARSE_ERROR", "The body is not valid JSON.") from None
    if not isinstance(document, dict):
        raise _Refused("PARSE_ERROR", "The body is not an object.")
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise _Refused("INVALID_CONTEXT", "The context is not an object.")
    wanted = context.get("targetingKey")
    if wanted is None or wanted == "":
        raise _Refused("TARGETING_KEY_MISSING", "Name the tenant by context.targetingKey.")
    if not isinstance(wanted, str):
        raise _Refused("INVALID_CONTEXT", "The targetingKey is not a string.")
    return wanted
