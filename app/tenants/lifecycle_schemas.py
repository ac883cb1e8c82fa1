"""Transitions of a tenant on the wire."""

from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.http.values import Reason
from app.plans.schemas import Token


class TransitionIn(BaseModel):
    """The reason is kept with the tenant and in the audit trail."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "Invoice 114 is unpaid"}]})

    reason: Reason | None = Field(None, description="Why, for whoever asks later")


class RestoreIn(TransitionIn):
    """Of a purged tenant, which of its backups; by default the latest."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "They came back"}]})

    backup_id: UUID | None = Field(None, description="Only where no tenant has the id")


class PurgeIn(TransitionIn):
    """Without `confirmation`: make a plan. With that of a plan for the same `waive_backup`: do what it says."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "Erasure was asked for"}]})

    confirmation: Token | None = Field(None, description="The plan's")

    waive_backup: bool = Field(False, strict=True, description="Make no backup first: nothing can ever come back")


class TransitionOf(BaseModel):
    """What a call is compared with under its idempotency key: the path too."""

    tenant_id: str
    body: dict[str, Any]

    @classmethod
    def of(cls, tenant_id: str, body: BaseModel | None) -> Self:
        return cls(tenant_id=tenant_id, body={} if body is None else body.model_dump(mode="json", exclude_unset=True))


_REASON: Final[TypeAdapter[str | None]] = TypeAdapter(Reason | None)


def checked_reason(reason: str | None) -> str | None:
    """Raises ValueError, in few words, for what the API would not take either."""
    try:
        return _REASON.validate_python(reason)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None
