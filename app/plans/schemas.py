"""Plans on the wire."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.plans.model import Offer, Plan

Token = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Precision = Literal["exact", "estimated"]


class LossOut(BaseModel):
    """What would be lost."""

    tables: int
    rows: int
    rows_are: Precision = Field(description="`estimated`: by the last VACUUM or ANALYZE, or not all were counted")
    bytes: int = Field(description="On disk")


class PlanOut(LossOut):
    """What would be lost, and what must be repeated to have it done."""

    plan_id: UUID | None = Field(None, description="For whoever has to approve it; null in a dry run")
    needs_approval: bool = Field(False, description="Another admin has to approve it: POST /v1/plans/{id}/approve")
    confirmation: str | None = Field(
        None, description="Send it back to have this plan carried out: once, by the same caller; null in a dry run"
    )
    expires_at: datetime | None = None

    def offered(self, offer: Offer) -> dict[str, Any]:
        """With what confirms it."""
        update = {
            "plan_id": offer.id,
            "needs_approval": offer.needs_approval,
            "confirmation": offer.token,
            "expires_at": offer.expires_at,
        }
        return self.model_copy(update=update).model_dump(mode="json")

    def document(self) -> dict[str, Any]:
        """As it is stored: of what would be lost alone."""
        return self.model_dump(mode="json", exclude=set(PlanOut.model_fields) - set(LossOut.model_fields))


class StoredPlanOut(BaseModel):
    """A plan, for whoever is asked to approve it. It says nothing that confirms it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e13",
                    "action": "tenant.purge",
                    "target": "tenant/acme_corp",
                    "planned_by": "key:3f9a1c20b7d64e85",
                    "needs_approval": True,
                    "approved_by": None,
                    "approved_at": None,
                    "created_at": "2026-01-31T09:30:00.000000Z",
                    "expires_at": "2026-01-31T09:40:00.000000Z",
                    "used_at": None,
                    "loss": {"tables": 6, "rows": 1234, "rows_are": "exact", "bytes": 573440},
                }
            ]
        }
    )

    id: UUID
    action: str
    target: str
    planned_by: str
    needs_approval: bool
    approved_by: str | None
    approved_at: datetime | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    loss: dict[str, Any] = Field(description="What the plan said would be lost")

    @classmethod
    def of(cls, plan: Plan) -> Self:
        return cls(
            id=plan.id,
            action=plan.action,
            target=plan.target,
            planned_by=plan.actor,
            needs_approval=plan.needs_approval,
            approved_by=plan.approved_by,
            approved_at=plan.approved_at,
            created_at=plan.created_at,
            expires_at=plan.expires_at,
            used_at=plan.used_at,
            loss=plan.document,
        )
