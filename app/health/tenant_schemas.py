"""A tenant's health on the wire."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.health.growth import forecast
from app.health.model import Status
from app.health.schemas import Check
from app.health.tenant_model import Forecast, Growth, Measured, Mend, TenantFinding
from app.health.verdict import worst

VERDICT_EXAMPLE: Final[dict[str, Any]] = {
    "status": "warn",
    "checks": {
        "state": {"status": "pass", "observed": "active", "reason": None, "mend": None, "time": None},
        "catalogue": {
            "status": "warn",
            "observed": "drifted",
            "reason": "is not as the migrations made it: missing index idx_acme_corp_budgets_status",
            "mend": {"method": "POST", "path": "/v1/tenants/acme_corp/repair"},
            "time": "2026-01-31T09:30:00Z",
        },
    },
}
_EXAMPLE: Final[dict[str, Any]] = {
    "tenant_id": "acme_corp",
    **VERDICT_EXAMPLE,
    "limits": [
        {
            "name": "max_budget_lines",
            "used": 81200,
            "allowed": 100000,
            "percentage": 81.2,
            "per_day": 940.5,
            "reached_on": "2026-02-20",
        }
    ],
    "growth": {
        "since": "2026-01-01T09:30:00Z",
        "bytes_per_day": 1048576,
        "rows_per_day": 1210.5,
        "samples": [{"taken_at": "2026-01-01T09:30:00Z", "total_bytes": 409600, "live_rows": 210, "dead_rows": 4}],
    },
}


class MendOut(BaseModel):
    """The call that puts it right."""

    method: Literal["GET", "POST", "PUT", "PATCH"]
    path: str

    @classmethod
    def of(cls, mend: Mend) -> Self:
        return cls.model_validate({"method": mend.method, "path": mend.path})


class TenantCheck(Check):
    reason: str | None = Field(None, description="What is wrong")
    mend: MendOut | None = Field(None, description="null where nothing is wrong, or no call mends it")
    time: datetime | None = Field(None, description="When it was observed; null: now")

    @classmethod
    def of(cls, finding: TenantFinding) -> Self:
        return cls(
            status=finding.status,
            observed=finding.observed,
            reason=finding.reason,
            mend=None if finding.mend is None else MendOut.of(finding.mend),
            time=finding.time,
        )


class TenantVerdict(BaseModel):
    """The worst of its checks."""

    model_config = ConfigDict(json_schema_extra={"examples": [VERDICT_EXAMPLE]})

    status: Status
    checks: dict[str, TenantCheck]

    @classmethod
    def judged(cls, findings: Mapping[str, TenantFinding]) -> Self:
        return cls(status=worst(findings), checks={name: TenantCheck.of(one) for name, one in findings.items()})


class LimitForecast(BaseModel):
    name: str
    used: int
    allowed: int
    percentage: float
    per_day: float | None = Field(description="null before there is a history to tell")
    reached_on: date | None = Field(description="At that rate; null where it does not grow, or not in ten years")

    @classmethod
    def of(cls, found: Forecast) -> Self:
        use = found.use
        return cls(
            name=use.name,
            used=use.used,
            allowed=use.allowed,
            percentage=use.percentage,
            per_day=found.per_day,
            reached_on=found.reached_on,
        )


class SizeSample(BaseModel):
    taken_at: datetime
    total_bytes: int
    live_rows: int
    dead_rows: int


class GrowthOut(BaseModel):
    since: datetime
    bytes_per_day: int
    rows_per_day: float
    samples: list[SizeSample] = Field(description="The oldest first, 120 at most; each holds until the next")

    @classmethod
    def of(cls, growth: Growth) -> Self:
        samples = [
            SizeSample(
                taken_at=sample.taken_at,
                total_bytes=sample.total_bytes,
                live_rows=sample.live_rows,
                dead_rows=sample.dead_rows,
            )
            for sample in growth.samples
        ]
        return cls(
            since=growth.samples[0].taken_at,
            bytes_per_day=round(growth.bytes_per_day),
            rows_per_day=round(growth.rows_per_day, 3),
            samples=samples,
        )


class TenantHealth(TenantVerdict):
    """One verdict with its reasons, each with the call that mends it. docs/health.md says what each check means."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    tenant_id: str
    limits: list[LimitForecast] = Field(description="Those of which use is known, the fullest first")
    growth: GrowthOut | None = Field(description="Of 30 days at most; null before there is an hour of history")

    @classmethod
    def of(cls, tenant_id: str, findings: Mapping[str, TenantFinding], measured: Measured) -> Self:
        verdict = TenantVerdict.judged(findings)
        today = measured.now.date()
        return cls(
            tenant_id=tenant_id,
            status=verdict.status,
            checks=verdict.checks,
            limits=[LimitForecast.of(forecast(use, measured.growth, today)) for use in measured.uses],
            growth=None if measured.growth is None else GrowthOut.of(measured.growth),
        )
