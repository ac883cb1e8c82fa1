"""What is looked at of one tenant. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from app.collect.model import Sample, Schema
from app.health.model import Status
from app.operations.model import Operation
from app.registry.model import Tenant


@dataclass(frozen=True, slots=True)
class Mend:
    """The call that puts it right."""

    method: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantFinding:
    """`time` is when it was observed, None for now."""

    status: Status
    observed: str | int | float | None = None
    reason: str | None = None
    mend: Mend | None = None
    time: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The last verification; `drift` names what is missing, extra and altered, None where nothing is."""

    verified_at: datetime
    drift: Mapping[str, Sequence[str]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantSeen:
    """What is known without a look at the tenant's schema. `latest_version` is None before the first upgrade;
    `failed` is a newer operation than the last that changed the tenant; `faults` are of isolation.
    """

    tenant: Tenant
    latest_version: int | None
    last_operation: Operation | None
    failed: Operation | None
    verified: Verified | None
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Of one limit, as counters tell."""

    name: str
    used: int
    allowed: int

    @property
    def percentage(self) -> float:
        """Of nothing allowed, anything is more than all of it."""
        return round(100 * self.used / self.allowed, 1) if self.allowed else 100.0 * (self.used > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """From the first of `samples` to the last, a day; of rows by table too. They are PostgreSQL's estimates."""

    samples: Sequence[Sample]
    bytes_per_day: float
    rows_per_day: float
    rows_by_table: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Of one limit: all of it is used on `reached_on`; None where it does not grow, or not in ten years."""

    use: Use
    per_day: float | None
    reached_on: date | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known of the tenant's tables; None of what was not looked at yet."""

    now: datetime
    schema: Schema | None
    uses: Sequence[Use]
    growth: Growth | None


def names(drift: Mapping[str, Any]) -> str:
    """Of a drift, the first few."""
    listed = [f"{what} {name}" for what in ("missing", "altered", "extra") for name in drift.get(what, ())]
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
