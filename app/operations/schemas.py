"""Operations on the wire."""

from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.operations.model import Operation, Status


class StepOut(BaseModel):
    name: str
    status: Status
    started_at: datetime
    duration_ms: int | None


class ProblemOut(BaseModel):
    """RFC 9457, with a stable code."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Validation failed",
                    "status": 422,
                    "detail": "The request is not valid; see errors.",
                    "instance": "/v1/tenants",
                    "code": "validation_failed",
                    "request_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e12",
                    "errors": [{"pointer": "/tenant_id", "detail": "is reserved"}],
                }
            ]
        }
    )

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None


class ProgressOut(BaseModel):
    done: int
    total: int


_EXAMPLE: Final[dict[str, Any]] = {
    "id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11",
    "kind": "tenant.provision",
    "tenant_id": "acme_corp",
    "status": "succeeded",
    "created_at": "2026-01-31T09:30:00.000000Z",
    "started_at": "2026-01-31T09:30:00.012000Z",
    "finished_at": "2026-01-31T09:30:00.074000Z",
    "attempts": 1,
    "progress": None,
    "steps": [
        {
            "name": "setup_tenant",
            "status": "succeeded",
            "started_at": "2026-01-31T09:30:00.014000Z",
            "duration_ms": 48,
        }
    ],
    "result": {"tenant_id": "acme_corp", "schema_version": 1},
    "error": None,
    "cancel_requested": False,
    "request_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e12",
    "retry_of": None,
}


class OperationOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: UUID
    kind: str = Field(
        description="`tenant.provision`, `tenants.change`, `schema.upgrade`, `schema.downgrade`; later ones add more"
    )
    tenant_id: str | None
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    progress: ProgressOut | None = Field(description="Of work in items; null for work that is one transaction")
    steps: list[StepOut]
    result: dict[str, Any] | None = Field(description="What the work produced, once it succeeded")
    error: ProblemOut | None = Field(description="Once it failed or was cancelled")
    cancel_requested: bool = Field(description="It stops before its next item")
    request_id: str | None = Field(description="Of the request that asked for it")
    retry_of: UUID | None = Field(description="The operation whose work this one repeats")

    @classmethod
    def of(cls, operation: Operation) -> Self:
        progress = operation.progress
        return cls(
            id=operation.id,
            kind=operation.kind,
            tenant_id=operation.tenant_id,
            status=operation.status,
            created_at=operation.created_at,
            started_at=operation.started_at,
            finished_at=operation.finished_at,
            attempts=operation.attempts,
            progress=None if progress is None else ProgressOut(done=progress.done, total=progress.total),
            steps=[
                StepOut(name=s.name, status=s.status, started_at=s.started_at, duration_ms=s.duration_ms)
                for s in operation.steps
            ],
            result=operation.result,
            error=None if operation.error is None else ProblemOut(**operation.error),
            cancel_requested=operation.cancel_requested,
            request_id=operation.request_id,
            retry_of=operation.retry_of,
        )


class OperationPage(BaseModel):
    items: list[OperationOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")
