"""POST and GET /v1/tenants/{id}/backups"""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from app.backups import service
from app.backups.schemas import BackupOut, BackupPage
from app.db.pool import Connection
from app.http import idempotency, pagination
from app.http.auth import CurrentAdmin
from app.http.dependencies import Db, Tokens, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.http.openapi import ACCEPTED, done
from app.http.pagination import PageSize, PageToken
from app.http.prefer import WaitSeconds
from app.operations import answer as operation_answer
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Operation
from app.operations.schemas import OperationOut
from app.tenants import lifecycle
from app.tenants.lifecycle_schemas import TransitionIn, TransitionOf

router = APIRouter(prefix="/v1/tenants/{tenant_id}/backups", tags=["tenants"])
_ROUTE: Final = "POST /v1/tenants/{tenant_id}/backups"


async def _configured(request: Request) -> bool:
    configured: bool = request.app.state.services.backups_configured
    return configured


BackupsConfigured = Annotated[bool, Depends(_configured)]


@router.post(
    "",
    status_code=202,
    summary="Back up a tenant",
    response_model=OperationOut,
    responses={
        200: {"model": OperationOut, "description": "Of a dry run: the operation as it would be"},
        201: done(BackupOut, "Done within the preferred wait"),
        202: ACCEPTED,
        **problems(400, 404, 409, 413, 422),
    },
)
async def create_backup(
    tenant_id: str,
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentAdmin,
    configured: BackupsConfigured,
    key: Key,
    wait: WaitSeconds,
    body: TransitionIn | None = None,
    validate_only: ValidateOnly = False,
) -> Response:
    """An archive of the tenant's schema as of one moment, with what else is kept of the tenant.

    It counts once its rows were counted against the tables, and its checksum was read back from where it is kept.
    """
    reason = None if body is None else body.reason

    async def store(conn: Connection, operation_id: UUID) -> Answer:
        await lifecycle.require_no_credentials(conn, reason)
        operation = await service.request_backup(
            conn,
            tenant_id,
            operation_id=operation_id,
            reason=reason,
            origin=origin_of(actor),
            configured=configured,
        )
        return operation_answer.accepted(operation, location=f"/v1/tenants/{tenant_id}/backups")

    if validate_only:
        async with db.transaction(keep=False) as conn:
            return JSONResponse((await store(conn, operation_answer.new_id())).body)

    async def finished(conn: Connection, operation: Operation) -> Answer:
        backup = await service.require(conn, tenant_id, operation.id)
        return Answer(status=201, body=BackupOut.of(backup).model_dump(mode="json"))

    call = idempotency.call(caller=actor.id, route=_ROUTE, key=key, body=TransitionOf.of(tenant_id, body))
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=store, finished=finished)
    return answer.response()


@router.get("", summary="List a tenant's backups", response_model=BackupPage, responses=problems(400, 404, 422))
async def list_backups(
    tenant_id: str, db: Db, tokens: Tokens, _: CurrentAdmin, page_size: PageSize = None, page_token: PageToken = None
) -> JSONResponse:
    """The newest first; a purged tenant's too."""
    query = {"list": "backups", "tenant_id": tenant_id}
    size = pagination.page_size(page_size)
    after = tokens.read(page_token, query)
    if after is not None:
        pagination.require_timestamp(after[0])
        pagination.require_uuid(after[1])
    async with db.connection() as conn:
        found, following = await service.page(conn, tenant_id, after=after, size=size)
    return pagination.answer([BackupOut.of(backup) for backup in found], tokens.issue(query, following))
