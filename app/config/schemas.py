"""Configuration on the wire."""

from datetime import date, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StrictBool,
    StrictInt,
    StringConstraints,
    model_serializer,
)

from app.config.model import Difference, TenantSettings, Version
from app.http.values import JsonList, JsonObject, Reason


def _day(value: str) -> str:
    date.fromisoformat(value)
    return value


Day = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    AfterValidator(_day),
    Field(json_schema_extra={"format": "date"}),
]
Currency = Annotated[str, StringConstraints(pattern="^[A-Z]{3}$")]
TimeZone = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+/-]{1,50}$")]
RetentionDays = Annotated[StrictInt, Field(ge=1, le=36500)]
AuditLevel = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,19}$")]


class ConfigIn(BaseModel):
    """What is left out, or null, has its default."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"default_currency": "EUR", "time_zone": "Europe/Berlin", "fiscal_year_start": "2026-04-01"},
                {"budget_features": {"rolling": True}, "cost_centers": [{"code": "CC-100", "name": "Marketing"}]},
            ]
        },
    )

    budget_features: JsonObject | None = None
    forecast_features: JsonObject | None = None
    analytics_features: JsonObject | None = None
    external_systems: JsonObject | None = Field(None, description="Without credentials")
    fiscal_year_start: Day | None = None
    default_currency: Currency | None = Field(None, description="ISO 4217")
    time_zone: TimeZone | None = Field(None, description="IANA")
    department_hierarchy: JsonObject | None = None
    cost_centers: JsonList | None = None
    approval_workflows: JsonObject | None = None
    data_retention_days: RetentionDays | None = None
    encryption_enabled: StrictBool | None = None
    audit_level: AuditLevel | None = None

    def values(self) -> dict[str, Any]:
        """Without what has its default."""
        return self.model_dump(mode="json", exclude_none=True)

    def patch(self) -> dict[str, Any]:
        """What the client sent: null is what it removed."""
        return self.model_dump(mode="json", exclude_unset=True)


# As PostgreSQL writes it: of a database that was not upgraded yet, also what Python's dates do not reach.
Date = Annotated[str, Field(json_schema_extra={"format": "date"})]


class ConfigOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "budget_features": {"rolling": True},
                    "forecast_features": {},
                    "analytics_features": {},
                    "external_systems": {"erp": {"kind": "sap", "endpoint": "https://erp.acme.example"}},
                    "fiscal_year_start": "2026-04-01",
                    "default_currency": "EUR",
                    "time_zone": "Europe/Berlin",
                    "department_hierarchy": {"sales": {"emea": {}}},
                    "cost_centers": [{"code": "CC-100", "name": "Marketing"}],
                    "approval_workflows": {"budget": ["controller", "cfo"]},
                    "data_retention_days": 2555,
                    "encryption_enabled": True,
                    "audit_level": "detailed",
                }
            ]
        }
    )

    budget_features: dict[str, Any]
    forecast_features: dict[str, Any]
    analytics_features: dict[str, Any]
    external_systems: dict[str, Any]
    fiscal_year_start: Date
    default_currency: str
    time_zone: str
    department_hierarchy: dict[str, Any]
    cost_centers: list[Any]
    approval_workflows: dict[str, Any]
    data_retention_days: int
    encryption_enabled: bool
    audit_level: str

    @classmethod
    def of(cls, settings: TenantSettings) -> Self:
        return cls(**settings.configuration)


class DifferenceOut(BaseModel):
    """`before` or `after` is absent where there was or is no such value."""

    pointer: str = Field(description="JSON pointer into the row of tenant_config")
    before: Any = None
    after: Any = None

    @classmethod
    def of(cls, difference: Difference) -> Self:
        held = {"before": difference.before, "after": difference.after}
        return cls(pointer=difference.pointer, **{name: value[0] for name, value in held.items() if value})

    @model_serializer(mode="wrap")
    def _told(self, told: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in told(self).items() if name in self.model_fields_set}


_VERSION: Final[dict[str, Any]] = {
    "version": 3,
    "changed_at": "2026-01-31T09:30:00.000000Z",
    "by": "key:0f1e2d3c4b5a6978",
    "database_user": "bf_migrator",
    "source": "api",
    "documents": ["configuration"],
    "reason": None,
    "restored_version": None,
    "difference": [{"pointer": "/default_currency", "before": "USD", "after": "EUR"}],
}


class VersionOut(BaseModel):
    """One version of everything that is configured of a tenant, and what was changed to make it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VERSION]})

    version: int = Field(description="Counts from 1, the making of the tenant")
    changed_at: datetime
    by: str = Field(description="The user of the context, an API key for one; without a context the database's user")
    database_user: str
    source: Literal["api", "sql"]
    documents: list[str] = Field(description="Those changed of tenant, configuration, features, limits, integrations")
    reason: str | None
    restored_version: int | None = Field(description="Of a rollback: the version that it went back to")
    difference: list[DifferenceOut]

    @classmethod
    def of(cls, version: Version) -> Self:
        return cls(
            version=version.version,
            changed_at=version.changed_at,
            by=version.by,
            database_user=version.database_user,
            source="api" if version.source == "api" else "sql",
            documents=version.documents,
            reason=version.reason,
            restored_version=version.restored_version,
            difference=[DifferenceOut.of(difference) for difference in version.difference],
        )


class VersionPage(BaseModel):
    items: list[VersionOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")


class RollbackIn(BaseModel):
    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"version": 2, "reason": "the new workflow held up approvals"}]}
    )

    version: Annotated[StrictInt, Field(ge=1, lt=2**63)]
    reason: Reason | None = None
