"""GET /v1/tenants/{id}/integrations; GET, PUT, DELETE of one, and POST …/check"""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Body, Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ValidationError

from app.db.pool import Connection
from app.errors import FieldError, Invalid, PreconditionRequired
from app.http import conditional, idempotency
from app.http.auth import CurrentOperator, CurrentViewer
from app.http.conditional import Exists, IfMatch, IfNoneMatch, Missing, MustBeNew, Tags
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ETAG, NOT_MODIFIED
from app.integrations import service
from app.integrations.check import Checker
from app.integrations.endpoint import Policy
from app.integrations.model import Capability, Integration
from app.integrations.request import Rules
from app.integrations.schemas import SCHEMAS, CheckOut, IntegrationIn, IntegrationList, IntegrationOut
from app.operations.answer import origin_of
from app.registry import service as registry

router = APIRouter(prefix="/v1/tenants/{tenant_id}/integrations", tags=["integrations"])

CapabilityName = Annotated[str, Path(description=f"One of {', '.join(Capability)}", examples=["auth_rbac"])]


async def _rules(request: Request) -> Rules:
    rules: Rules = request.app.state.services.integrations
    return rules


async def _checker(request: Request) -> Checker:
    checker: Checker = request.app.state.services.checker
    return checker


CurrentRules = Annotated[Rules, Depends(_rules)]


@router.get(
    "",
    summary="List a tenant's integrations",
    response_model=IntegrationList,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def list_integrations(
    tenant_id: str, db: Db, rules: CurrentRules, actor: CurrentViewer, known: IfNoneMatch
) -> Response:
    """All of them, by capability; none while the tenant has no schema."""
    async with db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id)
        found = await service.every(conn, tenant)
        await service.note_read(conn, tenant, found, origin=origin_of(actor))
    return conditional.answer(IntegrationList(items=[IntegrationOut.of(one, rules.policy) for one in found]), known)


@router.get(
    "/{capability}",
    summary="Read an integration",
    response_model=IntegrationOut,
    responses={200: {"headers": ETAG}, 304: NOT_MODIFIED, **problems(400, 404, 422)},
)
async def get_integration(
    tenant_id: str, capability: CapabilityName, db: Db, rules: CurrentRules, actor: CurrentViewer, known: IfNoneMatch
) -> Response:
    """Of its credentials: which are set, since when, and by whom."""
    async with db.transaction() as conn:
        tenant = await registry.require(conn, tenant_id)
        found = await service.require(conn, tenant, capability)
        await service.note_read(conn, tenant, [found], origin=origin_of(actor))
    return conditional.answer(IntegrationOut.of(found, rules.policy), known)


_BODY: Final[dict[str, Any]] = {
    "requestBody": {
        "content": {
            "application/json": {
                "schema": {"anyOf": [{"$ref": f"#/components/schemas/{one.__name__}"} for one in SCHEMAS.values()]}
            }
        }
    }
}


@router.put(
    "/{capability}",
    summary="Set an integration",
    response_model=IntegrationOut,
    responses={
        200: {"headers": ETAG},
        201: {"model": IntegrationOut, "description": "It is new", "headers": ETAG},
        **problems(400, 404, 409, 412, 413, 422, 428),
    },
    openapi_extra=_BODY,
)
async def put_integration(
    tenant_id: str,
    capability: CapabilityName,
    body: Annotated[dict[str, Any], Body()],
    db: Db,
    rules: CurrentRules,
    actor: CurrentOperator,
    if_match: IfMatch,
    must_be_new: MustBeNew,
    validate_only: ValidateOnly = False,
) -> Response:
    """Replaces what is there, by the schema of the capability; `If-Match` is required where something is.

    Credentials are write-only: those that are named are set, or removed by null, and the others stay.
    """
    known = _known(capability)
    change = _read(known, body).change()
    async with db.transaction(keep=not validate_only) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        registry.require_changeable(tenant)
        before = await service.get(conn, tenant, known)
        _require_version(before, rules.policy, if_match, must_be_new=must_be_new)
        changed = await service.put(
            conn, tenant, known, change, policy=rules.policy, keyring=rules.keyring, origin=origin_of(actor)
        )
    document = IntegrationOut.of(changed, rules.policy)
    if validate_only:
        return JSONResponse(document.model_dump(mode="json"))
    answer = conditional.answer(document, None)
    if before is None:
        answer.status_code = 201
        answer.headers["Location"] = f"/v1/tenants/{tenant_id}/integrations/{known}"
    return answer


def _known(capability: str) -> Capability:
    """Raises Invalid."""
    try:
        return Capability(capability)
    except ValueError:
        fault = FieldError(pointer="path/capability", detail=f"must be one of {', '.join(sorted(Capability))}")
        raise Invalid("The request is not valid; see errors.", errors=[fault]) from None


def _read(capability: Capability, body: dict[str, Any]) -> IntegrationIn:
    try:
        return SCHEMAS[capability].model_validate(body)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise RequestValidationError([{**one, "loc": ("body", *one["loc"])} for one in found]) from None


def _require_version(before: Integration | None, policy: Policy, if_match: Tags | None, *, must_be_new: bool) -> None:
    """Raises Missing, Exists, PreconditionRequired or Changed."""
    if before is None:
        if if_match is not None:
            raise Missing("There is no such integration; without If-Match it is made.")
        return
    if must_be_new:
        raise Exists("The integration is there already.")
    if if_match is None:
        raise PreconditionRequired("The integration is there already: send its ETag in If-Match.")
    conditional.require_match(if_match, _tag(before, policy))


def _tag(integration: Integration, policy: Policy) -> str:
    return conditional.tag_of(conditional.body_of(IntegrationOut.of(integration, policy)))


@router.delete(
    "/{capability}",
    status_code=204,
    summary="Remove an integration and its credentials",
    responses=problems(400, 404, 409, 412, 422),
)
async def delete_integration(
    tenant_id: str,
    capability: CapabilityName,
    db: Db,
    rules: CurrentRules,
    actor: CurrentOperator,
    if_match: IfMatch,
    validate_only: ValidateOnly = False,
) -> Response:
    """Of what SQL has written too, whatever it is called."""
    async with db.transaction(keep=not validate_only) as conn:
        tenant = await registry.require(conn, tenant_id, lock=True)
        registry.require_changeable(tenant)
        if if_match is not None:
            conditional.require_match(if_match, _tag(await service.require(conn, tenant, capability), rules.policy))
        await service.delete(conn, tenant, capability, origin=origin_of(actor))
    return Response(status_code=204)


class _Checked(BaseModel):
    """What an Idempotency-Key of a check stands for."""

    tenant_id: str
    capability: str


@router.post(
    "/{capability}/check",
    summary="Try an integration's endpoint",
    response_model=CheckOut,
    responses={**problems(400, 404, 409, 422)},
)
async def check_integration(
    tenant_id: str,
    capability: CapabilityName,
    db: Db,
    checker: Annotated[Checker, Depends(_checker)],
    actor: CurrentOperator,
    key: Key,
) -> Response:
    """One GET without credentials, within 5 seconds; redirects are not followed. That it fails is an answer too.

    Nothing is changed by it.
    """
    # The database is asked before and after: its connection would be held as long as somebody else likes.
    call = idempotency.call(
        caller=actor.id,
        route="POST /v1/tenants/{tenant_id}/integrations/{capability}/check",
        key=key,
        body=_Checked(tenant_id=tenant_id, capability=capability),
    )
    async with db.connection() as conn:
        found = await service.require(conn, await registry.require(conn, tenant_id), capability)
    answer = await call.answered(db)
    if answer is None:
        outcome = CheckOut.of(await checker.check(service.endpoint_of(found)))
        answer = Answer(status=200, body=outcome.model_dump(mode="json"))
        answer = await _kept(call, db, answer)
    return answer.response()


async def _kept(call: idempotency.IdempotentCall, db: Db, answer: Answer) -> Answer:
    async def store(_: Connection) -> Answer:
        return answer

    return answer if call.slot is None else await call.once(db, store)
