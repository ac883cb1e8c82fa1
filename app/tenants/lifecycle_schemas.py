"""Transitions of a tenant on the wire."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from app.http.values import Reason


class TransitionIn(BaseModel):
    """The reason is kept with the tenant and in the audit trail."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "Invoice 114 is unpaid"}]})

    reason: Reason | None = Field(None, description="Why, for whoever asks later")


class TransitionOf(TransitionIn):
    """What a call is compared with under its idempotency key: the path too."""

    tenant_id: str


_REASON: Final[TypeAdapter[str | None]] = TypeAdapter(Reason | None)


def checked_reason(reason: str | None) -> str | None:
    """Raises ValueError, in few words, for what the API would not take either."""
    try:
        return _REASON.validate_python(reason)
    except ValidationError as error:
        raise ValueError(error.errors()[0]["msg"]) from None
