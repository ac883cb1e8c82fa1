"""GET /v1/operations/{id}"""

from fastapi import APIRouter, Response

from app.http.auth import CurrentViewer
from app.http.dependencies import Db, problems
from app.operations import service
from app.operations.schemas import OperationOut

router = APIRouter(prefix="/v1/operations", tags=["operations"])


@router.get("/{operation_id}", summary="Read an operation", responses=problems(404, 422))
async def get_operation(operation_id: str, db: Db, _: CurrentViewer, response: Response) -> OperationOut:
    """Answers 200 whatever became of the work; `Retry-After` says when to ask again while it runs."""
    async with db.connection() as conn:
        operation = await service.require(conn, operation_id)
    if not operation.status.terminal:
        response.headers["Retry-After"] = "1"
    return OperationOut.of(operation)
