"""GET and POST /v1/webhooks; GET and DELETE /{id}, POST /{id}/rotate, /enable, /test, /replay, GET /{id}/deliveries"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from app.db.pool import Connection, Database
from app.http import conditional, idempotency, pagination
from app.http.auth import Actor, CurrentAdmin
from app.http.conditional import IfMatch, IfNoneMatch
from app.http.dependencies import Db, Tokens, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key, replayed
from app.http.openapi import ETAG, NOT_MODIFIED
from app.http.pagination import PageSize, PageToken
from app.integrations.request import Rules
from app.operations.answer import origin_of
from app.webhooks import service
from app.webhooks.model import DeliveryStatus, Issued
from app.webhooks.schemas import (
    DeliveryOut,
    DeliveryPage,
    IssuedWebhookOut,
    OfWebhook,
    ReplayIn,
    ReplayOut,
    RotateIn,
    WebhookIn,
    WebhookOut,
    WebhookPage,
)

router = APIRouter(prefix="/v1/webhooks", tags=["webhooks"])

WebhookId = Annotated[str, Path(description="The webhook's id")]
_READ: Final[dict[int | str, dict[str, Any]]] = {
    200: {"headers": ETAG},
    304: NOT_MODIFIED,
    **problems(400, 404, 422),
}
_CHANGED: Final = problems(400, 404, 409, 413, 422)


async def _rules(request: Request) -> Rules:
    rules: Rules = request.app.state.services.integrations
    return rules


CurrentRules = Annotated[Rules, Depends(_rules)]


@router.get("", summary="List webhooks", response_model=WebhookPage, responses=problems(400, 422))
async def list_webhooks(
    db: Db,
    tokens: Tokens,
    _: CurrentAdmin,
    page_size: PageSize = None,
    page_token: PageToken = None,
    tenant_id: Annotated[str | None, Query(max_length=36, pattern=r"^[^\x00-\x1f]*$")] = None,
) -> JSONResponse:
    """The oldest first: those that were made here, and those that tenants' integrations stand for."""
    query = {"list": "webhooks", "tenant_id": tenant_id}
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    if after is not None:
        pagination.require_timestamp(after[0])
        pagination.require_uuid(after[1])
    async with db.connection() as conn:
        found, following = await service.page(conn, tenant_id=tenant_id, after=after, size=size)
    return pagination.answer([WebhookOut.of(one) for one in found], tokens.issue(query, following))


@router.post(
    "",
    status_code=201,
    summary="Make a webhook",
    response_model=IssuedWebhookOut,
    responses={
        200: {"model": IssuedWebhookOut, "description": "Of a dry run: as it would be"},
        **problems(400, 409, 413, 422),
    },
)
async def create_webhook(
    body: WebhookIn, db: Db, rules: CurrentRules, actor: CurrentAdmin, key: Key, validate_only: ValidateOnly = False
) -> JSONResponse:
    """From now on it is sent what happens, signed with the secret that this answer shows, and no other one will."""
    shown = _Shown()

    async def work(conn: Connection) -> Answer:
        issued = await service.create(
            conn, body.new(), policy=rules.policy, keyring=rules.keyring, origin=origin_of(actor)
        )
        return shown.answer(issued, 201, {"Location": f"/v1/webhooks/{issued.webhook.id}"})

    if validate_only:
        async with db.transaction(keep=False) as conn:
            return JSONResponse((await work(conn)).body)
    call = idempotency.call(caller=actor.id, route="POST /v1/webhooks", key=key, body=body)
    return shown.with_secret(await call.once(db, work))


@dataclass(slots=True)
class _Shown:
    """A secret on its way to whoever made it, past what is stored of the answer."""

    issued: Issued | None = None

    def answer(self, issued: Issued, status: int, headers: dict[str, str] | None = None) -> Answer:
        self.issued = issued
        body = IssuedWebhookOut.issued(issued).model_dump(mode="json")
        return Answer(status=status, body=body, headers=headers or {})

    def with_secret(self, answer: Answer) -> JSONResponse:
        response_body = answer.body
        if self.issued is not None and not replayed(answer):
            response_body = {**response_body, "secret": self.issued.secret}
        headers = {**answer.headers, "Cache-Control": "no-store"}
        return JSONResponse(response_body, status_code=answer.status, headers=headers)


@router.get("/{webhook_id}", summary="Read a webhook", response_model=WebhookOut, responses=_READ)
async def get_webhook(webhook_id: WebhookId, db: Db, _: CurrentAdmin, known: IfNoneMatch) -> Response:
    """Without its secret."""
    async with db.connection() as conn:
        webhook = await service.require(conn, service.webhook_id(webhook_id))
    return conditional.answer(WebhookOut.of(webhook), known)


@router.delete(
    "/{webhook_id}",
    status_code=204,
    summary="Delete a webhook",
    responses=problems(400, 404, 409, 412, 422),
)
async def delete_webhook(
    webhook_id: WebhookId, db: Db, actor: CurrentAdmin, if_match: IfMatch, validate_only: ValidateOnly = False
) -> Response:
    """It is sent nothing any more, what waits for it neither."""
    async with db.transaction(keep=not validate_only) as conn:
        webhook = await service.require(conn, service.webhook_id(webhook_id), lock=True)
        if if_match is not None:
            conditional.require_match(if_match, conditional.tag_of(conditional.body_of(WebhookOut.of(webhook))))
        await service.delete(conn, webhook, origin=origin_of(actor))
    return Response(status_code=204)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A change of one webhook: which, by whom, and how it is to be answered."""

    webhook_id: UUID
    db: Database
    actor: Actor
    key: str | None
    validate_only: bool

    async def answer(
        self, verb: str, work: Callable[[Connection], Awaitable[Answer]], body: BaseModel | None = None
    ) -> Answer:
        """Does `work`, once under its key."""
        if self.validate_only:
            async with self.db.transaction(keep=False) as conn:
                return await work(conn)
        sent = {} if body is None else body.model_dump(mode="json", exclude_unset=True)
        call = idempotency.call(
            caller=self.actor.id,
            route=f"POST /v1/webhooks/{{webhook_id}}/{verb}",
            key=self.key,
            body=OfWebhook(webhook_id=self.webhook_id, body=sent),
        )
        return await call.once(self.db, work)


async def _asked(
    webhook_id: WebhookId, db: Db, actor: CurrentAdmin, key: Key, validate_only: ValidateOnly = False
) -> Asked:
    return Asked(webhook_id=service.webhook_id(webhook_id), db=db, actor=actor, key=key, validate_only=validate_only)


AskedChange = Annotated[Asked, Depends(_asked)]


@router.post(
    "/{webhook_id}/rotate",
    summary="Give a webhook another secret",
    response_model=IssuedWebhookOut,
    responses=_CHANGED,
)
async def rotate_webhook(asked: AskedChange, rules: CurrentRules, body: RotateIn | None = None) -> JSONResponse:
    """For a while both sign: each message has two signatures, and a receiver takes the one that it knows."""
    wanted = body or RotateIn.model_validate({})
    shown = _Shown()

    async def work(conn: Connection) -> Answer:
        webhook = await service.require(conn, asked.webhook_id, lock=True)
        issued = await service.rotate(
            conn, webhook, keyring=rules.keyring, origin=origin_of(asked.actor), overlap=wanted.overlap
        )
        return shown.answer(issued, 200)

    answer = await asked.answer("rotate", work, wanted)
    return JSONResponse(answer.body) if asked.validate_only else shown.with_secret(answer)


@router.post("/{webhook_id}/enable", summary="Enable a webhook again", response_model=WebhookOut, responses=_CHANGED)
async def enable_webhook(asked: AskedChange) -> JSONResponse:
    """After its receiver has answered 410. What happened meanwhile is not sent: replay it."""

    async def work(conn: Connection) -> Answer:
        webhook = await service.require(conn, asked.webhook_id, lock=True)
        enabled = await service.enable(conn, webhook, origin=origin_of(asked.actor))
        return Answer(status=200, body=WebhookOut.of(enabled).model_dump(mode="json"))

    return (await asked.answer("enable", work)).response()


@router.post("/{webhook_id}/test", summary="Send a webhook a test", response_model=DeliveryOut, responses=_CHANGED)
async def test_webhook(asked: AskedChange) -> JSONResponse:
    """An event of type `platform.apg.bf.webhook.test`, for it alone; a worker sends it, and the deliveries say how that
    went.
    """

    async def work(conn: Connection) -> Answer:
        webhook = await service.require(conn, asked.webhook_id)
        delivery = await service.test(conn, webhook, origin=origin_of(asked.actor))
        return Answer(status=200, body=DeliveryOut.of(delivery).model_dump(mode="json"))

    return (await asked.answer("test", work)).response()


@router.post("/{webhook_id}/replay", summary="Send events again", response_model=ReplayOut, responses=_CHANGED)
async def replay_webhook(asked: AskedChange, body: ReplayIn) -> JSONResponse:
    """Under the ids that they had: a receiver that has taken them knows them. Events are kept for 30 days."""

    async def work(conn: Connection) -> Answer:
        webhook = await service.require(conn, asked.webhook_id)
        origin = origin_of(asked.actor)
        if body.delivery_id is not None:
            await service.replay_one(conn, webhook, body.delivery_id, origin=origin)
            done = ReplayOut(replayed=1, next_since=None)
        else:
            assert body.since is not None  # noqa: S101 -- its schema wants one of them
            replayed, following = await service.replay_since(conn, webhook, body.since, origin=origin)
            done = ReplayOut(replayed=replayed, next_since=following)
        return Answer(status=200, body=done.model_dump(mode="json"))

    return (await asked.answer("replay", work, body)).response()


@router.get(
    "/{webhook_id}/deliveries",
    summary="List what a webhook was sent",
    response_model=DeliveryPage,
    responses=problems(400, 404, 422),
)
async def list_webhook_deliveries(
    webhook_id: WebhookId,
    db: Db,
    tokens: Tokens,
    _: CurrentAdmin,
    page_size: PageSize = None,
    page_token: PageToken = None,
    status: Annotated[DeliveryStatus | None, Query()] = None,
) -> JSONResponse:
    """The newest event first; kept as long as the events are, 30 days."""
    query = {"list": "deliveries", "webhook_id": webhook_id, "status": status}
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    before = None if after is None else pagination.require_number(after[0])
    async with db.connection() as conn:
        webhook = await service.require(conn, service.webhook_id(webhook_id))
        found, last = await service.deliveries(conn, webhook, status=status, before=before, size=size)
    following = None if last is None else (str(last), "")
    return pagination.answer([DeliveryOut.of(one) for one in found], tokens.issue(query, following))
