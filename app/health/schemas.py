"""Health on the wire, after the health+json draft (draft-inadarei-api-health-check)."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from app.health.checks import worst
from app.health.model import Finding, Status

MEDIA_TYPE: Final = "application/health+json"
_OBSERVED: Final = {
    "database": {"status": "pass", "observed": "PostgreSQL 15.14", "reason": None, "time": "2026-01-31T09:30:00Z"},
    "latency": {"status": "pass", "observed": 0.4, "reason": None, "observedUnit": "ms"},
    "tenants_failed": {
        "status": "warn",
        "observed": 1,
        "reason": "1 tenant failed to be made (acme_corp): GET /v1/tenants/{id}/health says why; the same request "
        "again repairs one, POST …/purge removes it.",
        "observedUnit": "tenants",
        "time": "2026-01-31T09:30:00Z",
        "links": {"related": "/v1/tenants?state=failed"},
    },
}
_SUMMARY: Final[dict[str, Any]] = {"status": "warn", "releaseId": "0.1.0", "checks": _OBSERVED}


class Check(BaseModel):
    status: Status
    observed: str | int | float | None = None
    reason: str | None = None


class Health(BaseModel):
    status: Status
    checks: dict[str, Check]


class SummaryCheck(Check):
    """What is not known is left out, but for `observed` and `reason`."""

    reason: str | None = Field(None, description="What is wrong, and what to do")
    observedUnit: str | None = Field(None, description="Of `observed`")  # noqa: N815 -- the draft's own names
    time: datetime | None = Field(None, description="When it was observed, by the database's clock")
    links: dict[str, str] | None = Field(None, description="`related`: the call that tells more")

    @classmethod
    def of(cls, finding: Finding) -> Self:
        known: dict[str, Any] = {"observedUnit": finding.unit, "time": finding.time}
        if finding.related is not None:
            known["links"] = {"related": finding.related}
        known = {name: value for name, value in known.items() if value is not None}
        return cls(status=finding.status, observed=finding.observed, reason=finding.reason, **known)


class HealthSummary(BaseModel):
    """The worst of its checks, by name. docs/health.md says what each means, from where on, and what to do."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SUMMARY]})

    status: Status
    releaseId: str = Field(description="The version of this process")  # noqa: N815 -- the draft's own name
    checks: dict[str, SummaryCheck]

    @classmethod
    def of(cls, findings: Mapping[str, Finding], *, release: str) -> Self:
        checks = {name: SummaryCheck.of(finding) for name, finding in findings.items()}
        return cls(status=worst(findings), releaseId=release, checks=checks)

    def document(self) -> bytes:
        """As it is sent."""
        return self.model_dump_json(exclude_unset=True).encode()
