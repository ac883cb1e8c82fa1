"""Events that are told to others, and to whom. Pure."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from app.integrations.model import Fault


class EventType(StrEnum):
    TENANT_CREATED = "platform.apg.bf.tenant.created"
    TENANT_ACTIVATED = "platform.apg.bf.tenant.activated"
    TENANT_FAILED = "platform.apg.bf.tenant.failed"
    TENANT_SUSPENDED = "platform.apg.bf.tenant.suspended"
    TENANT_RESUMED = "platform.apg.bf.tenant.resumed"
    TENANT_DELETED = "platform.apg.bf.tenant.deleted"
    TENANT_RESTORED = "platform.apg.bf.tenant.restored"
    TENANT_PURGED = "platform.apg.bf.tenant.purged"
    TENANT_UPDATED = "platform.apg.bf.tenant.updated"
    CONFIG_CHANGED = "platform.apg.bf.tenant.config.changed"
    FEATURES_CHANGED = "platform.apg.bf.tenant.features.changed"
    LIMITS_CHANGED = "platform.apg.bf.tenant.limits.changed"
    INTEGRATIONS_CHANGED = "platform.apg.bf.tenant.integrations.changed"
    LIMIT_REACHED = "platform.apg.bf.tenant.limit.reached"
    OPERATION_SUCCEEDED = "platform.apg.bf.operation.succeeded"
    OPERATION_FAILED = "platform.apg.bf.operation.failed"
    OPERATION_CANCELLED = "platform.apg.bf.operation.cancelled"


# Sent when it is asked for, to the one webhook that is tried.
TEST: Final = "platform.apg.bf.webhook.test"

# A delivery that is not taken for so long, or so often, is given up.
GIVE_UP_AFTER: Final = timedelta(days=3)
MOST_ATTEMPTS: Final = 20
# How long a secret that was rotated signs beside the new one, unless it is asked otherwise.
OVERLAP: Final = timedelta(hours=24)
# All of them are looked at whenever something happens.
MOST_WEBHOOKS: Final = 100
# Events that one call replays.
MOST_REPLAYED: Final = 10_000


class DisabledReason(StrEnum):
    GONE = "gone"
    TENANT_PURGED = "tenant_purged"


class DeliveryStatus(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    seq: int
    id: UUID
    type: str
    subject: str
    about_tenant: str | None
    occurred_at: datetime
    data: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """`event_types`: none of them means every one. `capability` is the integration of `about_tenant` it stands for."""

    id: UUID
    url: str
    description: str
    event_types: tuple[str, ...]
    about_tenant: str | None
    capability: str | None
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None
    failing_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """What is asked for."""

    url: str
    description: str = ""
    event_types: tuple[str, ...] = ()
    about_tenant: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One event for one webhook. `due_at` is of the next try, and means nothing once there is none."""

    id: UUID
    event: Event
    status: DeliveryStatus
    attempts: int
    queued_at: datetime
    due_at: datetime
    attempted_at: datetime | None
    latency_ms: float | None
    response_status: int | None
    response_body: str | None
    fault: Fault | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A delivery that this process has, for as long as nobody else has claimed it."""

    id: UUID
    token: UUID
    attempts: int
    overdue: bool
    webhook: Webhook
    event: Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How one went. `retry_after` is in seconds, where the receiver has named them."""

    status: int | None = None
    latency_ms: float
    body: str | None = None
    fault: Fault | None = None
    retry_after: float | None = None

    @property
    def delivered(self) -> bool:
        return self.fault is None

    @property
    def gone(self) -> bool:
        return self.status == 410


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A secret that was just made: shown once."""

    webhook: Webhook
    secret: str = field(repr=False)
