"""Configuration on the wire."""

from datetime import date
from typing import Any, Literal, Self

from pydantic import BaseModel

from app.config.model import TenantSettings


class ConfigOut(BaseModel):
    budget_features: dict[str, Any]
    forecast_features: dict[str, Any]
    analytics_features: dict[str, Any]
    external_systems: dict[str, Any]
    fiscal_year_start: date
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


class FeatureOut(BaseModel):
    name: str
    enabled: bool
    source: Literal["tenant"]
