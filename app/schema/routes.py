"""GET /v1/schema, POST /v1/schema/upgrade"""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from app.audit import service as audit
from app.db.pool import Connection
from app.http import idempotency
from app.http.auth import CurrentOperator, CurrentViewer
from app.http.dependencies import Db, problems
from app.http.idempotency import Answer, Key
from app.http.prefer import WaitSeconds
from app.operations import answer as operation_answer
from app.operations import queries as operation_queries
from app.operations import service as operations
from app.operations.answer import CurrentWaiter, origin_of
from app.operations.model import Kind, Operation
from app.operations.schemas import OperationOut
from app.schema import files, service
from app.schema.schemas import SchemaOut, UpgradeIn

router = APIRouter(prefix="/v1/schema", tags=["schema"])


@router.get("", summary="Versions, applied and pending migrations", responses=problems())
async def get_schema(db: Db, _: CurrentViewer) -> SchemaOut:
    """What is installed, what this release would add, and how many tenants are at which version."""
    async with db.connection() as conn:
        return SchemaOut.of(await service.state(conn, files.migrations()))


@router.post(
    "/upgrade",
    status_code=202,
    summary="Bring the shared schema, then every tenant, up to date",
    response_model=OperationOut,
    responses={
        200: {"model": SchemaOut, "description": "Done within the preferred wait"},
        **problems(400, 409, 413, 422),
    },
)
async def upgrade_schema(
    db: Db,
    waiter: CurrentWaiter,
    actor: CurrentOperator,
    key: Key,
    wait: WaitSeconds,
    body: UpgradeIn | None = None,
) -> JSONResponse:
    """Idempotent. A request that comes while an upgrade is queued or running joins it."""
    origin = origin_of(actor)

    async def request(conn: Connection, operation_id: UUID) -> Answer:
        operation = await operation_queries.unfinished(conn, Kind.SCHEMA_UPGRADE)
        if operation is None:
            operation = await operations.request(conn, operation_id, Kind.SCHEMA_UPGRADE, origin=origin)
            await audit.record(
                conn,
                actor=actor.id,
                action="schema.upgrade",
                target="schema",
                outcome="accepted",
                request_id=actor.request_id,
                source_address=actor.source_address,
            )
        return operation_answer.accepted(operation, location="/v1/schema")

    async def finished(conn: Connection, _: Operation) -> Answer:
        state = SchemaOut.of(await service.state(conn, files.migrations()))
        return Answer(status=200, body=state.model_dump(mode="json"))

    call = idempotency.call(
        caller=actor.id, route="POST /v1/schema/upgrade", key=key, body=body or UpgradeIn.model_validate({})
    )
    answer = await operation_answer.start(db, waiter, call, wait=wait, request=request, finished=finished)
    return answer.response()
