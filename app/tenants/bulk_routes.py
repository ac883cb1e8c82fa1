"""POST /v1/tenants/batch"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse

from app.db.pool import Connection
from app.http import idempotency
from app.http.auth import CurrentOperator
from app.http.dependencies import Db, problems
from app.http.dry_run import ValidateOnly
from app.http.idempotency import Answer, Key
from app.integrations.routes import CurrentRules
from app.operations.answer import origin_of
from app.tenants import batch
from app.tenants.batch_schemas import BatchOut, TenantBatch

router = APIRouter(prefix="/v1/tenants", tags=["tenants"])


@router.post(
    "/batch",
    summary="Provision many tenants, each with its own outcome",
    response_model=BatchOut,
    responses=problems(400, 409, 413, 422),
)
async def create_tenants(
    body: TenantBatch,
    db: Db,
    actor: CurrentOperator,
    key: Key,
    rules: CurrentRules,
    validate_only: ValidateOnly = False,
) -> JSONResponse:
    """Up to 500. 200 whatever became of the items: `status` and `problem` of each say so, with pointers into this
    request's body. What is accepted is stored together, and made one by one. The key is that of the whole.
    """
    origin = origin_of(actor)

    async def store(conn: Connection) -> Answer:
        outcomes = await batch.request_all(conn, body.tenants, origin=origin, caller=actor.name, integrations=rules)
        answer = BatchOut.of(outcomes, dry=validate_only)
        return Answer(status=200, body=answer.model_dump(mode="json"))

    if validate_only:
        async with db.transaction(keep=False) as conn:
            return (await store(conn)).response()
    call = idempotency.call(caller=actor.id, route="POST /v1/tenants/batch", key=key, body=body)
    return (await call.once(db, store)).response()
