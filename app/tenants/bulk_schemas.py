"""Changes of many tenants on the wire."""

from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from app.catalog.schemas import FeatureName, TierName
from app.limits.schemas import LimitName, Number
from app.tenants.bulk_model import Changes, Status, Target

Problem = Annotated[dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/ProblemOut"})]


class TenantsPatch(BaseModel):
    """What each tenant is to get; what is absent stays as each has it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"subscription_tier": "premium"},
                {"features": {"ai_insights": True, "scenario_planning": None}, "limits": {"max_budgets": 500}},
            ]
        },
    )

    # It cannot be null: the factory only keeps a default out of the document.
    subscription_tier: TierName = Field(default_factory=str)
    features: dict[FeatureName, bool | None] = Field(
        default_factory=dict,
        max_length=200,
        description="On or off as the tenant's own choice; null: its tier decides again",
    )

    limits: dict[LimitName, Number | None] = Field(
        default_factory=dict, max_length=200, description="The tenant's own values; null: its tier's, or the default"
    )

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if "subscription_tier" not in self.model_fields_set and not (self.features or self.limits):
            raise ValueError("must have subscription_tier, features or limits")
        return self

    def changes(self) -> Changes:
        return Changes(
            subscription_tier=self.subscription_tier or None, features=dict(self.features), limits=dict(self.limits)
        )


class TargetOut(BaseModel):
    tenant_id: str
    status: Status = Field(
        description="`pending` until its turn; `changed`, or deleted; `refused` for the reason in `problem`"
    )
    problem: Problem | None = None

    @classmethod
    def of(cls, target: Target) -> Self:
        return cls(tenant_id=target.tenant_id, status=target.status, problem=target.problem)


class PreviewItemOut(TargetOut):
    before: dict[str, Any] | None = Field(None, description="What is to be changed, as it is")
    after: dict[str, Any] | None = Field(None, description="And as it would be")


class PreviewOut(BaseModel):
    """Of a dry run."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenants": 1234,
                    "items": [
                        {
                            "tenant_id": "acme_corp",
                            "status": "changed",
                            "problem": None,
                            "before": {"subscription_tier": "standard"},
                            "after": {"subscription_tier": "premium"},
                        }
                    ],
                }
            ]
        }
    )

    tenants: int = Field(description="How many the filters fit")
    items: list[PreviewItemOut] = Field(description="The first twenty of them, and what would become of each")

    @classmethod
    def of(cls, tenants: int, tried: Sequence[Target]) -> Self:
        items = [
            PreviewItemOut(
                tenant_id=target.tenant_id,
                status=target.status,
                problem=target.problem,
                before=target.before,
                after=target.after,
            )
            for target in tried
        ]
        return cls(tenants=tenants, items=items)


class TargetPage(BaseModel):
    items: list[TargetOut]
    next_page_token: str | None = Field(None, description="Absent on the last page")
