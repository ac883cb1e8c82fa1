"""Operations on the wire."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from app.operations.model import Kind, Operation, Status


class StepOut(BaseModel):
    name: str
    status: Status
    started_at: datetime
    duration_ms: int | None


class ProblemOut(BaseModel):
    """RFC 9457, with a stable code."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str
    request_id: str | None = None
    errors: list[dict[str, str]] | None = None


class OperationOut(BaseModel):
    id: UUID
    kind: Kind
    tenant_id: str | None
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    steps: list[StepOut]
    result: dict[str, Any] | None = Field(description="What the work produced, once it succeeded")
    error: dict[str, Any] | None = Field(description="A problem (RFC 9457), once it failed")

    @classmethod
    def of(cls, operation: Operation) -> Self:
        return cls(
            id=operation.id,
            kind=operation.kind,
            tenant_id=operation.tenant_id,
            status=operation.status,
            created_at=operation.created_at,
            started_at=operation.started_at,
            finished_at=operation.finished_at,
            attempts=operation.attempts,
            steps=[
                StepOut(name=s.name, status=s.status, started_at=s.started_at, duration_ms=s.duration_ms)
                for s in operation.steps
            ],
            result=operation.result,
            error=operation.error,
        )
