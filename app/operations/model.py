"""What a client sees of long work. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from app.audit.model import Origin


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
    SCHEMA_DOWNGRADE = "schema.downgrade"
    TENANT_PROVISION = "tenant.provision"
    TENANT_BACKUP = "tenant.backup"
    TENANT_PURGE = "tenant.purge"
    TENANT_RESTORE = "tenant.restore"
    TENANT_REPAIR = "tenant.repair"
    TENANTS_CHANGE = "tenants.change"
    FLEET_VERIFY = "fleet.verify"
    FLEET_REPAIR = "fleet.repair"
    TENANTS_DELETE = "tenants.delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`duration_ms` is None while the step runs."""

    name: str
    status: Status
    started_at: datetime
    duration_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Of work in items, each of which commits by itself."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """`error` is a problem (RFC 9457); `parameters` is what the handler was given.

    `kind` is a Kind, or what a newer release beside this one calls it.
    """

    id: UUID
    kind: str
    tenant_id: str | None
    status: Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    parameters: dict[str, Any]
    progress: Progress | None
    steps: tuple[Step, ...]
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    actor: str
    role: str | None
    source_address: str | None
    request_id: str | None
    traceparent: str | None
    cancel_requested: bool
    retry_of: UUID | None

    @property
    def origin(self) -> Origin:
        """Whoever asked for it, for what its work leaves in the audit trail."""
        return Origin(
            actor=self.actor,
            role=self.role,
            source_address=self.source_address,
            request_id=self.request_id,
            traceparent=self.traceparent,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A change of an operation, and the operation as it was after it. `seq` counts from 1."""

    seq: int
    name: str
    operation: Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to write an operation's outcome, until somebody else claims it."""

    operation: Operation
    token: UUID
