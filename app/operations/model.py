"""What a client sees of long work. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID


class Status(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        return self in TERMINAL


TERMINAL: Final = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})


class Kind(StrEnum):
    SCHEMA_UPGRADE = "schema.upgrade"
    TENANT_PROVISION = "tenant.provision"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`duration_ms` is None while the step runs."""

    name: str
    status: Status
    started_at: datetime
    duration_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`error` is a problem (RFC 9457); `parameters` is what the handler was given."""

    id: UUID
    kind: Kind
    tenant_id: str | None
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    parameters: dict[str, Any]
    steps: tuple[Step, ...]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    actor: str
    request_id: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to write an operation's outcome, until somebody else claims it."""

    operation: Operation
    token: UUID
