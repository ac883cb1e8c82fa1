"""A tenant's row of tenant_config, as the documents that the API knows it by. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

LIMIT_COLUMNS: Final = ("max_budget_lines", "forecast_horizon_limit", "concurrent_users_limit")
CONFIGURATION_COLUMNS: Final = (
    "budget_features", "forecast_features", "analytics_features", "external_systems", "fiscal_year_start",
    "default_currency", "time_zone", "department_hierarchy", "cost_centers", "approval_workflows",
    "data_retention_days", "encryption_enabled", "audit_level",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """`limits` has the columns and what usage_limits adds."""

    configuration: dict[str, Any]
    limits: dict[str, Any]
    integrations: dict[str, Any]


def settings_of(row: Mapping[str, Any]) -> TenantSettings:
    """`row` is tenant_config's as JSON."""
    return TenantSettings(
        configuration={name: row[name] for name in CONFIGURATION_COLUMNS},
        limits={**row["usage_limits"], **{name: row[name] for name in LIMIT_COLUMNS}},
        integrations=row["apg_integrations"],
    )
