"""How the service is, and a tenant."""

from datetime import date, datetime
from typing import Any

from pydantic import Field

from app.client._model import Model
from app.client.models import Check


class SummaryCheck(Check):
    """`time` is when it was observed; `links` may have `related`, the call that tells more."""

    observed_unit: str | None = Field(None, alias="observedUnit")
    time: datetime | None = None
    links: dict[str, str] = Field(default_factory=dict)


class HealthSummary(Model):
    """`status` is `pass`, `warn` or `fail`: the worst of the checks."""

    status: str
    release: str | None = Field(None, alias="releaseId")
    checks: dict[str, SummaryCheck]


class Mend(Model):
    """The call that puts it right."""

    method: str
    path: str


class TenantCheck(Check):
    mend: Mend | None = None
    time: datetime | None = None


class LimitForecast(Model):
    """`reached_on` is the day on which it is used up at that rate; None where it does not grow."""

    name: str
    used: int
    allowed: int
    percentage: float
    per_day: float | None = None
    reached_on: date | None = None


class SizeSample(Model):
    """Holds until the next one. Rows are estimates."""

    taken_at: datetime
    total_bytes: int
    live_rows: int
    dead_rows: int


class Growth(Model):
    since: datetime
    bytes_per_day: int
    rows_per_day: float
    samples: tuple[SizeSample, ...]


class TenantHealth(Model):
    """`growth` is None before there is an hour of history."""

    tenant_id: str
    status: str
    checks: dict[str, TenantCheck]
    limits: tuple[LimitForecast, ...]
    growth: Growth | None = None

    def mends(self) -> dict[str, Mend]:
        """By check, the calls that put right what is not as it should be."""
        found: dict[str, Any] = {name: check.mend for name, check in self.checks.items() if check.status != "pass"}
        return {name: mend for name, mend in found.items() if mend is not None}
