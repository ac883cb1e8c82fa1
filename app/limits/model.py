"""What limits there are, what a tenant has of them, and how much it uses. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

# Kept in columns of tenant_config; the others are members of its usage_limits.
COLUMNS: Final = ("max_budget_lines", "forecast_horizon_limit", "concurrent_users_limit")
# Two names of one thing: the lower one holds.
HORIZONS: Final = ("forecast_horizon_limit", "max_forecast_horizon")
# What the database can refuse. The CHECK on bf_control.usage_limit says the same.
ENFORCEABLE: Final = ("max_budgets", "max_budget_lines", "max_forecasts", "max_scenarios", *HORIZONS)
# Members of the documents that are no limits.
RESERVED: Final = frozenset({"sources", "exceeded"})
# The largest value that any limit may have; and those that are columns, what these take.
CEILING: Final = 10**12
COLUMN_RANGES: Final = {
    "max_budget_lines": (0, 10**9),
    "forecast_horizon_limit": (1, 120),
    "concurrent_users_limit": (0, 10**6),
}


_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


def limit_name(value: str) -> str:
    """Raises ValueError, saying why, unless `value` may be the name of a limit."""
    if _NAME.fullmatch(value) is None:
        raise ValueError("must have 1 to 63 of a-z, 0-9 and _, a letter first")
    if value in RESERVED:
        raise ValueError("is reserved")
    return value


def is_limit_name(value: str) -> bool:
    return _NAME.fullmatch(value) is not None and value not in RESERVED


class Source(StrEnum):
    """Where a value comes from."""

    DEFAULT = "default"
    TIER = "tier"
    TENANT = "tenant"


class Enforcement(StrEnum):
    OFF = "off"
    WARN = "warn"
    ENFORCE = "enforce"


class Method(StrEnum):
    """How use was measured: rows or values read now, the counter that every COMMIT settles, or bytes on disk."""

    COUNT = "count"
    COUNTER = "counter"
    SIZE = "size"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """One of the catalogue. `default` is None for no limit; `tiers` has what differs from it."""

    name: str
    description: str
    unit: str
    minimum: int
    maximum: int
    default: int | None
    enforcement: Enforcement
    tiers: Mapping[str, int]

    def inherited(self, tier: str) -> tuple[int | None, Source]:
        """What a tenant of the tier has without a value of its own."""
        return (self.tiers[tier], Source.TIER) if tier in self.tiers else (self.default, Source.DEFAULT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """`value` is None for no limit."""

    value: int | None
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLimits:
    """By name: `given` as they are set, `effective` as they hold."""

    given: Mapping[str, Value]
    effective: Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """`used`, `method` and `measured_at` are None for what the database does not see; `allowed` for no limit."""

    limit: Limit
    used: int | None
    allowed: int | None
    method: Method | None
    measured_at: datetime | None

    @property
    def percentage(self) -> float | None:
        """Of nothing allowed, anything is more than all of it."""
        if self.used is None or self.allowed is None:
            return None
        return round(100 * self.used / self.allowed, 1) if self.allowed else 100.0 * (self.used > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Use that reached `percentage` of what was allowed, or what was allowed that came down to it."""

    name: str
    percentage: int
    used: int
    allowed: int
    occurred_at: datetime


def tenant_limits(
    catalogue: Sequence[Limit],
    *,
    tier: str,
    columns: Mapping[str, int],
    usage_limits: Mapping[str, object],
    own: frozenset[str],
) -> TenantLimits:
    """`own` has the names of the columns that are the tenant's own. What is no number was stored before numbers were
    asked for, and holds nothing.
    """
    given: dict[str, Value] = {}
    for limit in catalogue:
        value, source = limit.inherited(tier)
        if limit.name in columns:
            value, source = columns[limit.name], Source.TENANT if limit.name in own else source
        else:
            stored = usage_limits.get(limit.name)
            if isinstance(stored, int) and not isinstance(stored, bool):
                value, source = stored, Source.TENANT
        given[limit.name] = Value(value=value, source=source)
    return TenantLimits(given=given, effective=_effective(given))


def _effective(given: Mapping[str, Value]) -> dict[str, Value]:
    limited = [given[name] for name in HORIZONS if name in given and given[name].value is not None]
    lowest = min(limited, key=lambda value: value.value or 0, default=None)
    return {name: lowest if name in HORIZONS and lowest is not None else value for name, value in given.items()}
