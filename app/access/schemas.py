"""API keys on the wire."""

from datetime import datetime, timedelta
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from app.access.service import KeyRequest
from app.apikeys.model import ApiKey, Role
from app.http.values import printable

_ID: Final = "3f9c2e7a41b0d865"
_KEY: Final[dict[str, Any]] = {
    "id": _ID,
    "name": "billing export",
    "role": "viewer",
    "tenant_id": "acme_corp",
    "created_at": "2025-06-01T08:00:00Z",
    "created_by": "key:0a1b2c3d4e5f6071",
    "expires_at": "2025-09-01T00:00:00Z",
    "revoked_at": None,
    "last_used_at": "2025-06-02T09:30:00Z",
    "replaces": None,
    "usable": True,
}


def _plain(value: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain half a surrogate pair")
    return printable(value)


def _year(value: datetime) -> datetime:
    """PostgreSQL takes what Python can write, but for the ends of it, which another zone pushes over the edge."""
    if not 1970 <= value.year <= 9998:
        raise ValueError("must be a year from 1970 to 9998")
    return value


KeyName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain)]


class ApiKeyIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{name: _KEY[name] for name in ("name", "role", "tenant_id", "expires_at")}]},
    )

    name: KeyName = Field(description="What it is for")
    role: Role
    tenant_id: Annotated[str, StringConstraints(max_length=36, pattern=r"^[^\x00-\x1f]*$")] | None = Field(
        None, description="The only tenant it works for; null: every tenant, and what is of none"
    )
    expires_at: Annotated[AwareDatetime, AfterValidator(_year)] | None = Field(None, description="null: never")

    def request(self) -> KeyRequest:
        return KeyRequest(name=self.name, role=self.role, tenant_id=self.tenant_id, expires_at=self.expires_at)


class RotationIn(BaseModel):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"overlap_seconds": 3600}]})

    overlap_seconds: int = Field(
        86_400, ge=0, le=30 * 86_400, description="How long the old key goes on working, unless it expires before"
    )

    @property
    def overlap(self) -> timedelta:
        return timedelta(seconds=self.overlap_seconds)


class RotationOf(BaseModel):
    """What an Idempotency-Key of a rotation stands for."""

    key_id: str
    overlap_seconds: int


class ApiKeyOut(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [_KEY]})

    id: str
    name: str
    role: Role
    tenant_id: str | None = Field(description="The only tenant it works for")
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = Field(description="Some half a minute late; null: never since this is recorded")
    replaces: str | None = Field(description="The key that was rotated into this one")
    usable: bool = Field(description="Neither revoked nor expired")

    @classmethod
    def of(cls, key: ApiKey) -> Self:
        return cls(
            id=key.id,
            name=key.name,
            role=key.role,
            tenant_id=key.tenant_id,
            created_at=key.created_at,
            created_by=key.created_by,
            expires_at=key.expires_at,
            revoked_at=key.revoked_at,
            last_used_at=key.last_used_at,
            replaces=key.replaces,
            usable=key.usable,
        )


class NewApiKeyOut(ApiKeyOut):
    model_config = ConfigDict(json_schema_extra={"examples": [{**_KEY, "key": f"bfk_{_ID}.{'x' * 43}"}]})

    key: str | None = Field(
        None, description="Shown this once, and kept nowhere: absent in a dry run, and where an answer is replayed"
    )


class ApiKeyPage(BaseModel):
    items: list[ApiKeyOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")
