"""A tenant's row of tenant_config, as the documents that the API knows it by, and the versions it had. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

LIMIT_COLUMNS: Final = ("max_budget_lines", "forecast_horizon_limit", "concurrent_users_limit")
# The columns of the configuration document, with the table's own defaults.
DEFAULTS: Final[Mapping[str, Any]] = {
    "budget_features": {},
    "forecast_features": {},
    "analytics_features": {},
    "external_systems": {},
    "fiscal_year_start": "2025-01-01",
    "default_currency": "USD",
    "time_zone": "UTC",
    "department_hierarchy": {},
    "cost_centers": [],
    "approval_workflows": {},
    "data_retention_days": 2555,
    "encryption_enabled": True,
    "audit_level": "detailed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSettings:
    """`limits` has the columns and what usage_limits adds."""

    configuration: dict[str, Any]
    limits: dict[str, Any]
    integrations: dict[str, Any]


def settings_of(row: Mapping[str, Any]) -> TenantSettings:
    """`row` is tenant_config's as JSON."""
    return TenantSettings(
        configuration={name: row[name] for name in DEFAULTS},
        limits={**row["usage_limits"], **{name: row[name] for name in LIMIT_COLUMNS}},
        integrations=row["apg_integrations"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One value that a change touched, by a JSON pointer into the row: `before` and `after` are lists of it, empty
    where there was or is none.
    """

    pointer: str
    before: tuple[Any, ...]
    after: tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """`key` orders the versions of all tenants; `documents` are those that the change touched."""

    key: int
    version: int
    changed_at: datetime
    database_user: str
    user_context: str | None
    source: str
    documents: list[str]
    reason: str | None
    restored_version: int | None
    difference: tuple[Difference, ...]

    @property
    def by(self) -> str:
        return self.user_context or self.database_user


def differences(before: Mapping[str, Any], after: Mapping[str, Any], *, at: str = "") -> Iterator[Difference]:
    """What is not the same, member by member; arrays are compared as a whole."""
    for name in sorted(before.keys() | after.keys()):
        pointer = f"{at}/{name.replace('~', '~0').replace('/', '~1')}"
        old, new = _held(before, name), _held(after, name)
        if old and new and isinstance(old[0], Mapping) and isinstance(new[0], Mapping):
            yield from differences(old[0], new[0], at=pointer)
        elif _text(old) != _text(new):
            yield Difference(pointer=pointer, before=old, after=new)


def _held(document: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    return (document[name],) if name in document else ()


def _text(value: tuple[Any, ...]) -> str:
    """To Python true is 1, and 1 is 1.0."""
    return json.dumps(value, sort_keys=True)
