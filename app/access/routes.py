"""GET and POST /v1/api-keys; GET and DELETE of one, and POST …/rotate"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response

from app.access import service
from app.access.schemas import ApiKeyIn, ApiKeyOut, ApiKeyPage, NewApiKeyOut, RotationIn, RotationOf
from app.apikeys.model import ApiKey
from app.apikeys.service import Keys, NewKey
from app.db.pool import Connection, Database
from app.http import idempotency, pagination
from app.http.auth import CurrentAdmin
from app.http.dependencies import Db, Tokens, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, IdempotentCall, Key
from app.http.pagination import PageSize, PageToken
from app.operations.answer import origin_of

router = APIRouter(prefix="/v1/api-keys", tags=["api-keys"])
_Made = tuple[ApiKey, NewKey]


async def _keys(request: Request) -> Keys:
    keys: Keys = request.app.state.services.keys
    return keys


CurrentKeys = Annotated[Keys, Depends(_keys)]
KeyId = Annotated[str, Path(max_length=64, pattern=r"^[a-z0-9]+$", examples=["3f9c2e7a41b0d865"])]


def _making(description: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"model": NewApiKeyOut, "description": "Of a dry run: the key as it would be"},
        201: {"description": description},
        **problems(400, 404, 409, 413, 422),
    }


@router.get("", summary="List API keys", response_model=ApiKeyPage, responses=problems(400, 422))
async def list_api_keys(
    db: Db, tokens: Tokens, actor: CurrentAdmin, page_size: PageSize = None, page_token: PageToken = None
) -> JSONResponse:
    """The newest first, revoked and expired ones too, without their secrets. That it was read is in the audit trail."""
    query = {"list": "api_keys"}
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    if after is not None:
        pagination.require_timestamp(after[0])
    async with db.transaction() as conn:
        found, following = await service.page(conn, after=after, size=size)
        await service.record_reading(conn, origin_of(actor))
    return pagination.answer([ApiKeyOut.of(key) for key in found], tokens.issue(query, following))


@router.get("/{key_id}", summary="Read an API key", response_model=ApiKeyOut, responses=problems(404, 422))
async def get_api_key(key_id: KeyId, db: Db, _: CurrentAdmin) -> ApiKeyOut:
    """Without its secret."""
    async with db.connection() as conn:
        return ApiKeyOut.of(await service.require(conn, key_id))


@router.post(
    "",
    status_code=201,
    summary="Make an API key",
    response_model=NewApiKeyOut,
    responses=_making("The key, shown this once"),
)
async def create_api_key(
    body: ApiKeyIn, db: Db, keys: CurrentKeys, actor: CurrentAdmin, key: Key, validate_only: ValidateOnly = False
) -> Response:
    """`key` is stored nowhere: where the answer is lost, its replay has the rest of it. Revoke that key, and make
    another. It may do no more than its maker; an admin's may do anything.
    """

    async def make(conn: Connection) -> _Made:
        return await service.create(conn, keys, body.request(), origin=origin_of(actor), by=actor.role)

    call = idempotency.call(caller=actor.id, route="POST /v1/api-keys", key=key, body=body)
    return await _made(db, call, make, validate_only=validate_only)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    summary="Rotate an API key",
    response_model=NewApiKeyOut,
    responses=_making("The new key, shown this once"),
)
async def rotate_api_key(
    key_id: KeyId,
    db: Db,
    keys: CurrentKeys,
    actor: CurrentAdmin,
    key: Key,
    body: RotationIn | None = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """A new key with the same name, role, tenant and lifetime; the old one goes on working for the overlap, a day if
    nothing else is said, and expires then. `key` is stored nowhere, as with a new key.
    """
    wanted = body or RotationIn.model_validate({})

    async def make(conn: Connection) -> _Made:
        return await service.rotate(conn, keys, key_id, overlap=wanted.overlap, origin=origin_of(actor))

    asked = RotationOf(key_id=key_id, overlap_seconds=wanted.overlap_seconds)
    call = idempotency.call(caller=actor.id, route="POST /v1/api-keys/{key_id}/rotate", key=key, body=asked)
    return await _made(db, call, make, validate_only=validate_only)


_EvenTheLast = Annotated[bool, Query(description="Also where no other key could make one then")]


@router.delete("/{key_id}", status_code=204, summary="Revoke an API key", responses=problems(404, 409, 422))
async def revoke_api_key(
    key_id: KeyId,
    db: Db,
    actor: CurrentAdmin,
    even_the_last: _EvenTheLast = False,
    validate_only: ValidateOnly = False,
) -> Response:
    """Every process refuses it within 5 seconds; the record of it stays. Revoking it again changes nothing.

    Not the last admin key, unless that is asked for: keys then come from `bf-admin api-key create` alone.
    """
    async with db.transaction(keep=not validate_only) as conn:
        await service.revoke(conn, key_id, origin=origin_of(actor), even_the_last=even_the_last)
    return Response(status_code=204)


async def _made(
    database: Database, call: IdempotentCall, make: Callable[[Connection], Awaitable[_Made]], *, validate_only: bool
) -> Response:
    """What is stored for a replay has no secret in it."""
    if validate_only:
        async with database.transaction(keep=False) as conn:
            made, _ = await make(conn)
        return JSONResponse(_document(made))
    secrets: list[str] = []

    async def work(conn: Connection) -> Answer:
        made, new = await make(conn)
        secrets.append(new.key)
        return Answer(status=201, body=_document(made), headers={"Location": f"/v1/api-keys/{made.id}"})

    answer = await call.once(database, work)
    if secrets:
        answer = replace(answer, body={**answer.body, "key": secrets[-1]}, headers={**answer.headers, **_SECRET})
    return answer.response()


_SECRET: Final = {"Cache-Control": "no-store"}


def _document(key: ApiKey) -> dict[str, Any]:
    return ApiKeyOut.of(key).model_dump(mode="json")
