"""Webhooks on the wire."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)

from app.integrations.schemas import EndpointUrl
from app.webhooks.model import Delivery, DeliveryStatus, DisabledReason, EventType, Issued, NewWebhook, Webhook


def _text(value: str) -> str:
    if any(ord(one) < 32 or ord(one) == 127 or "\ud800" <= one <= "\udfff" for one in value):
        raise ValueError("must not contain control characters")
    return value


def _distinct(value: list[EventType]) -> list[EventType]:
    if len(set(value)) != len(value):
        raise ValueError("must not name a type twice")
    return value


def _storable(value: datetime) -> datetime:
    """Some times that a time zone brings are beyond what there is."""
    try:
        since = value.astimezone(UTC)
    except OverflowError:
        since = datetime.max.replace(tzinfo=UTC)
    if not 2000 <= since.year <= 9998:
        raise ValueError("must be a time since the year 2000")
    return since


Description = Annotated[StrictStr, StringConstraints(max_length=500), AfterValidator(_text)]
TenantId = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z][a-z0-9_]{1,35}$")]

_SUSPENDED: Final = EventType.TENANT_SUSPENDED.value
_WEBHOOK: Final[dict[str, Any]] = {
    "id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11",
    "url": "https://hooks.example.com/bf",
    "description": "Billing",
    "event_types": [_SUSPENDED],
    "tenant_id": None,
    "capability": None,
    "created_at": "2026-01-31T09:30:00.000000Z",
    "created_by": "key:0123456789abcdef",
    "enabled": True,
    "disabled_at": None,
    "disabled_reason": None,
    "failing_since": None,
}
_SECRET: Final = "whsec_" + "…"


class WebhookIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"url": "https://hooks.example.com/bf", "description": "Billing", "event_types": [_SUSPENDED]},
                {"url": "https://hooks.example.com/acme", "tenant_id": "acme_corp"},
            ]
        },
    )

    url: EndpointUrl = Field(description="https, and on the public internet, unless BF_INTEGRATION_ALLOW has its host")
    description: Description = ""
    event_types: Annotated[list[EventType], Field(max_length=50), AfterValidator(_distinct)] = Field(
        default_factory=list, description="None: every type, those of later releases too"
    )
    tenant_id: TenantId | None = Field(None, description="Events of this tenant alone; it ends with the tenant")

    def new(self) -> NewWebhook:
        return NewWebhook(
            url=self.url,
            description=self.description,
            event_types=tuple(self.event_types),
            about_tenant=self.tenant_id,
        )


class WebhookOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_WEBHOOK]})

    id: UUID
    url: str
    description: str
    event_types: list[str] = Field(description="None: every type")
    tenant_id: str | None
    capability: str | None = Field(description="The integration of the tenant that it stands for, and is changed by")
    created_at: datetime
    created_by: str
    enabled: bool
    disabled_at: datetime | None
    disabled_reason: DisabledReason | None = Field(description="`gone`: the receiver answered 410")
    failing_since: datetime | None = Field(description="The first of the failures since it last took something")

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        return cls(**_fields(webhook))


def _fields(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "description": webhook.description,
        "event_types": list(webhook.event_types),
        "tenant_id": webhook.about_tenant,
        "capability": webhook.capability,
        "created_at": webhook.created_at,
        "created_by": webhook.created_by,
        "enabled": webhook.disabled_at is None,
        "disabled_at": webhook.disabled_at,
        "disabled_reason": webhook.disabled_reason,
        "failing_since": webhook.failing_since,
    }


class IssuedWebhookOut(WebhookOut):
    """With its secret, this once."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_WEBHOOK, "secret": _SECRET}]})

    secret: str | None = Field(
        description="What signs: shown this once. Null in a dry run, and in a replayed answer: rotate it then"
    )

    @classmethod
    def issued(cls, issued: Issued) -> Self:
        """Without the secret, which is stored nowhere in sight."""
        return cls(**_fields(issued.webhook), secret=None)


class WebhookPage(BaseModel):
    items: list[WebhookOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")


class OfWebhook(BaseModel):
    """What a call is compared with under its idempotency key: the path too."""

    webhook_id: UUID
    body: dict[str, Any] = Field(default_factory=dict)


class RotateIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_seconds": 86400}]})

    overlap_seconds: Annotated[StrictInt, Field(ge=0, le=7 * 86400)] = Field(
        86400, description="For so long the secret before signs beside the new one"
    )

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


class ReplayIn(BaseModel):
    """One delivery, or every event since a time."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"delivery_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e12"},
                {"since": "2026-01-31T09:00:00Z"},
            ]
        },
    )

    delivery_id: UUID | None = None
    since: Annotated[AwareDatetime, AfterValidator(_storable)] | None = Field(
        None, description="Those that it asks for, delivered or not; 10,000 at a time"
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.delivery_id is None) == (self.since is None):
            raise ValueError("must have delivery_id, or since")
        return self


class ReplayOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"replayed": 12, "next_since": None}]})

    replayed: int
    next_since: datetime | None = Field(description="Where there are more: what to ask for next")


class DeliveryFaultOut(BaseModel):
    code: str
    detail: str


class DeliveryOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e12",
                    "event_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e13",
                    "event_type": _SUSPENDED,
                    "subject": "tenant/acme_corp",
                    "occurred_at": "2026-01-31T09:30:00.000000Z",
                    "status": "pending",
                    "attempts": 1,
                    "queued_at": "2026-01-31T09:30:00.000000Z",
                    "attempted_at": "2026-01-31T09:30:00.100000Z",
                    "next_attempt_at": "2026-01-31T09:30:05.200000Z",
                    "latency_ms": 84.2,
                    "response_status": 503,
                    "response_body": "try again later",
                    "error": {"code": "refused", "detail": "It answered 503."},
                }
            ]
        }
    )

    id: UUID
    event_id: UUID = Field(description="The event's `id`, and `webhook-id`: the same at every try")
    event_type: str
    subject: str
    occurred_at: datetime
    status: DeliveryStatus = Field(description="`dead`: given up, after 20 tries, 3 days, or a 410")
    attempts: int
    queued_at: datetime
    attempted_at: datetime | None
    next_attempt_at: datetime | None = Field(description="Null where there is none")
    latency_ms: float | None
    response_status: int | None = Field(description="Of the last try")
    response_body: str | None = Field(description="Its first KiB")
    error: DeliveryFaultOut | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        fault, event = delivery.fault, delivery.event
        return cls(
            id=delivery.id,
            event_id=event.id,
            event_type=event.type,
            subject=event.subject,
            occurred_at=event.occurred_at,
            status=delivery.status,
            attempts=delivery.attempts,
            queued_at=delivery.queued_at,
            attempted_at=delivery.attempted_at,
            next_attempt_at=delivery.due_at if delivery.status is DeliveryStatus.PENDING else None,
            latency_ms=delivery.latency_ms,
            response_status=delivery.response_status,
            response_body=delivery.response_body,
            error=None if fault is None else DeliveryFaultOut(code=fault.code, detail=fault.detail),
        )


class DeliveryPage(BaseModel):
    items: list[DeliveryOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")
