"""Many creations on the wire."""

from collections.abc import Sequence
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from app.tenants.batch import Outcome

_OPERATION: Final = "/v1/operations/0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11"
# As it is made, with what the code adds to it.
_Problem = Annotated[dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/ProblemOut"})]


class TenantBatch(BaseModel):
    """Creation requests, each as `POST /v1/tenants` takes it."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "tenants": [
                        {"tenant_id": "acme_corp", "tenant_name": "ACME Corporation"},
                        {"tenant_id": "global_inc", "tenant_name": "Global Inc", "subscription_tier": "premium"},
                    ]
                }
            ]
        },
    )

    # Looked at one by one: what is wrong with one item is that item's outcome.
    tenants: list[Annotated[Any, WithJsonSchema({"$ref": "#/components/schemas/TenantIn"})]] = Field(
        min_length=1, max_length=500
    )


class BatchItemOut(BaseModel):
    index: int = Field(description="Its place in the request, from 0")
    tenant_id: str | None = Field(description="As it was asked for; null where that is no text")
    status: int = Field(description="What this item alone would have been answered with: 202, or why not")
    operation: str | None = Field(None, description="Path of the operation that makes the tenant; null in a dry run")
    problem: _Problem | None = Field(None, description="Why it was refused")


class BatchOut(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "refused": 1,
                    "items": [
                        {
                            "index": 0,
                            "tenant_id": "acme_corp",
                            "status": 202,
                            "operation": _OPERATION,
                            "problem": None,
                        },
                        {
                            "index": 1,
                            "tenant_id": "global_inc",
                            "status": 409,
                            "operation": None,
                            "problem": {
                                "type": "about:blank",
                                "title": "The tenant exists",
                                "status": 409,
                                "detail": "Tenant global_inc exists and is active.",
                                "code": "tenant_exists",
                            },
                        },
                    ],
                }
            ]
        }
    )

    accepted: int
    refused: int
    items: list[BatchItemOut] = Field(description="In the order of the request")

    @classmethod
    def of(cls, outcomes: Sequence[Outcome], *, dry: bool) -> Self:
        items = [_item(outcome, dry=dry) for outcome in outcomes]
        refused = sum(item.problem is not None for item in items)
        return cls(accepted=len(items) - refused, refused=refused, items=items)


def _item(outcome: Outcome, *, dry: bool) -> BatchItemOut:
    found = outcome.problem
    return BatchItemOut(
        index=outcome.index,
        tenant_id=outcome.tenant_id,
        status=found["status"] if found is not None else 200 if dry else 202,
        operation=None if dry else _path(outcome.operation_id),
        problem=found,
    )


def _path(operation_id: UUID | None) -> str | None:
    return None if operation_id is None else f"/v1/operations/{operation_id}"
