"""Configuration on the wire."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field

from app.config.model import TenantSettings

# As PostgreSQL writes it: SQL may set what Python's dates do not reach, the year 12025 or infinity.
Date = Annotated[str, Field(json_schema_extra={"format": "date"})]


class ConfigOut(BaseModel):
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
