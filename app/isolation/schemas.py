"""The isolation check on the wire."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.isolation.model import Fault, Kind, Report


class FaultOut(BaseModel):
    """`tenant_id` is null for what concerns all tenants."""

    kind: Kind
    tenant_id: str | None
    reason: str
    mend: str = Field(description="SQL that mends it, for the owner or a superuser")

    @classmethod
    def of(cls, fault: Fault) -> Self:
        return cls(kind=fault.kind, tenant_id=fault.tenant_id, reason=fault.reason, mend=fault.mend)


class IsolationOut(BaseModel):
    """What the last check found. `fail`: somebody may reach what is not theirs; `warn`: something is left over."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "status": "fail",
                    "checked_at": "2025-11-01T12:00:00Z",
                    "duration_ms": 240,
                    "tenants": 1000,
                    "fault_count": 1,
                    "faults": [
                        {
                            "kind": "table",
                            "tenant_id": "acme_corp",
                            "reason": "bf_acme_corp.budgets does not force row-level security on its owner",
                            "mend": "ALTER TABLE bf_acme_corp.budgets FORCE ROW LEVEL SECURITY;",
                        }
                    ],
                }
            ]
        }
    )

    status: Literal["pass", "warn", "fail"]
    checked_at: datetime | None = Field(description="null until the first check has ended")
    duration_ms: int
    tenants: int
    fault_count: int
    faults: list[FaultOut] = Field(description="The first hundred, the worst first")

    @classmethod
    def of(cls, report: Report) -> Self:
        return cls(
            status="fail" if not report.safe else "warn" if report.fault_count or report.checked_at is None else "pass",
            checked_at=report.checked_at,
            duration_ms=report.duration_ms,
            tenants=report.tenants,
            fault_count=report.fault_count,
            faults=[FaultOut.of(fault) for fault in report.faults],
        )
