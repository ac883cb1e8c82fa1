"""Limits on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, RootModel, StringConstraints

from app.limits import model
from app.limits.model import CEILING, ENFORCEABLE, Enforcement, Event, Limit, Method, Source, TenantLimits, Usage


def _text(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("must not contain half a surrogate pair")
    return value


LimitName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$"), AfterValidator(model.limit_name)]
TierName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,19}$")]
# A number that is written as one: neither true nor "5".
Number = Annotated[int, Field(strict=True, ge=0, le=CEILING)]


_LIMITS: Final[dict[str, Any]] = {
    "max_budget_lines": 500000,
    "forecast_horizon_limit": 36,
    "concurrent_users_limit": 100,
    "max_budgets": 500,
    "max_forecast_horizon": 36,
    "max_forecasts": None,
    "max_scenarios": None,
    "storage_mb": None,
    "sources": {
        "max_budget_lines": "tenant",
        "forecast_horizon_limit": "tenant",
        "concurrent_users_limit": "default",
        "max_budgets": "tenant",
        "max_forecast_horizon": "tenant",
        "max_forecasts": "default",
        "max_scenarios": "default",
        "storage_mb": "default",
    },
}


class LimitsOut(BaseModel):
    """A member for each limit of the catalogue, with the value that holds; null is no limit."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "examples": [_LIMITS],
        },
    )

    max_budget_lines: int
    forecast_horizon_limit: int = Field(description="Months; where max_forecast_horizon is lower, that one")
    concurrent_users_limit: int
    sources: dict[str, Source] = Field(description="Where each value comes from")

    @classmethod
    def of(cls, limits: TenantLimits) -> Self:
        return cls.model_validate(_members(limits))


def _members(limits: TenantLimits) -> dict[str, Any]:
    values = {name: value.value for name, value in limits.effective.items()}
    return {**values, "sources": {name: value.source for name, value in limits.effective.items()}}


class LimitsChanged(LimitsOut):
    model_config = ConfigDict(json_schema_extra={"examples": [{**_LIMITS, "exceeded": ["max_budgets"]}]})

    exceeded: list[str] = Field(description="Limits of which more is used already: there can be no more")

    @classmethod
    def after(cls, limits: TenantLimits, exceeded: Sequence[str]) -> Self:
        return cls.model_validate({**_members(limits), "exceeded": list(exceeded)})


class LimitsPatch(RootModel[dict[LimitName, Number | None]]):
    """JSON Merge Patch (RFC 7396): what is absent stays; null goes back to what the tier or the default says."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"max_budgets": 500, "max_budget_lines": None}]})


class UsageOut(BaseModel):
    name: str
    unit: str
    used: int | None = Field(description="Null where the database does not see it")
    allowed: int | None = Field(description="Null for no limit")
    percentage: float | None
    enforcement: Enforcement
    method: Method | None = Field(description="`count`: read just now; `counter`: as every commit settles it; `size`")
    measured_at: datetime | None

    @classmethod
    def of(cls, usage: Usage) -> Self:
        return cls(
            name=usage.limit.name,
            unit=usage.limit.unit,
            used=usage.used,
            allowed=usage.allowed,
            percentage=usage.percentage,
            enforcement=usage.limit.enforcement,
            method=usage.method,
            measured_at=usage.measured_at,
        )


class UsageEventOut(BaseModel):
    """Use that reached 80 or 100 percent of what was allowed."""

    name: str
    percentage: int
    used: int
    allowed: int
    occurred_at: datetime


class TenantUsageOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "usage": [
                        {
                            "name": "max_budget_lines",
                            "unit": "count",
                            "used": 81234,
                            "allowed": 100000,
                            "percentage": 81.2,
                            "enforcement": "enforce",
                            "method": "counter",
                            "measured_at": "2026-01-31T09:30:00.000000Z",
                        }
                    ],
                    "events": [
                        {
                            "name": "max_budget_lines",
                            "percentage": 80,
                            "used": 80010,
                            "allowed": 100000,
                            "occurred_at": "2026-01-30T17:12:09.000000Z",
                        }
                    ],
                }
            ]
        }
    )

    usage: list[UsageOut]
    events: list[UsageEventOut] = Field(description="The latest twenty, the latest first")

    @classmethod
    def of(cls, usage: Sequence[Usage], events: Sequence[Event]) -> Self:
        return cls(
            usage=[UsageOut.of(each) for each in usage],
            events=[
                UsageEventOut(
                    name=event.name,
                    percentage=event.percentage,
                    used=event.used,
                    allowed=event.allowed,
                    occurred_at=event.occurred_at,
                )
                for event in events
            ],
        )


class LimitFields(BaseModel):
    """What a limit of the catalogue says."""

    model_config = ConfigDict(extra="forbid")

    description: Annotated[str, StringConstraints(max_length=500), AfterValidator(_text)] = ""
    unit: Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(_text)]
    minimum: Number = 0
    maximum: Number
    default: Number | None = Field(None, description="Of tenants whose tier says nothing else; null: no limit")
    tiers: dict[TierName, Number] = Field(default_factory=dict, description="What tiers have instead of the default")
    enforcement: Enforcement = Field(
        Enforcement.OFF,
        description="`off`: told, no more; `warn`: leaves an event at 80 and 100 percent; `enforce`: refuses what goes "
        f"over as well. Anything but `off` for {', '.join(sorted(ENFORCEABLE))} alone",
    )


_EXAMPLE: Final[dict[str, Any]] = {
    "description": "Budgets that are not deleted",
    "unit": "count",
    "minimum": 0,
    "maximum": 1000000000,
    "default": None,
    "tiers": {"basic": 50},
    "enforcement": "enforce",
}


class LimitIn(LimitFields):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    def limit(self, name: str) -> Limit:
        return Limit(name=name, **self.model_dump())


class LimitOut(LimitFields):
    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"name": "max_budgets", **_EXAMPLE}]})

    name: str

    @classmethod
    def of(cls, limit: Limit) -> Self:
        return cls(
            name=limit.name,
            description=limit.description,
            unit=limit.unit,
            minimum=limit.minimum,
            maximum=limit.maximum,
            default=limit.default,
            tiers=dict(sorted(limit.tiers.items())),
            enforcement=limit.enforcement,
        )


class LimitList(BaseModel):
    items: list[LimitOut]

    @classmethod
    def of(cls, limits: Sequence[Limit]) -> Self:
        return cls(items=[LimitOut.of(limit) for limit in limits])
