"""Plans of purges and of deletions of many, on the wire."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from app.plans.schemas import LossOut, PlanOut, Precision
from app.registry.model import Tenant
from app.tenants.loss_queries import Estimate

if TYPE_CHECKING:
    from app.tenants.loss import TableLoss

_OFFER: Final[dict[str, Any]] = {
    "plan_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e13",
    "needs_approval": False,
    "confirmation": "dOj3GmXkZpTTPEo0MDZ1wQ0Kx6y3V2c8p5b1sVqYz7A",
    "expires_at": "2026-01-31T09:40:00.000000Z",
}


class TableLossOut(BaseModel):
    name: str
    rows: int
    rows_are: Precision
    bytes: int


class PurgePlanOut(PlanOut):
    """What a purge would drop, and what must be repeated to have it done."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_OFFER,
                    "tenant_id": "acme_corp",
                    "generation": 1,
                    "waive_backup": False,
                    "tables": 1,
                    "rows": 1234,
                    "rows_are": "exact",
                    "bytes": 573440,
                    "items": [{"name": "budgets", "rows": 1234, "rows_are": "exact", "bytes": 573440}],
                }
            ]
        }
    )

    tenant_id: str
    generation: int
    waive_backup: bool = Field(description="Without a backup nothing of it can ever come back")
    items: list[TableLossOut] = Field(description="By table; a table of more than 64 MiB is not counted")

    @classmethod
    def of(cls, tenant: Tenant, tables: "Sequence[TableLoss]", *, waive_backup: bool) -> Self:
        return cls(
            tenant_id=tenant.tenant_id,
            generation=tenant.generation,
            waive_backup=waive_backup,
            items=[
                TableLossOut(name=t.name, rows=t.rows, rows_are="exact" if t.exact else "estimated", bytes=t.bytes)
                for t in tables
            ],
            tables=len(tables),
            rows=sum(t.rows for t in tables),
            rows_are="exact" if all(t.exact for t in tables) else "estimated",
            bytes=sum(t.bytes for t in tables),
        )


class DeletedTenantOut(LossOut):
    tenant_id: str


class DeletionPlanOut(PlanOut):
    """Which tenants would be deleted, and what must be repeated to have it done."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **_OFFER,
                    "tenants": 1,
                    "tables": 6,
                    "rows": 1200,
                    "rows_are": "estimated",
                    "bytes": 573440,
                    "items": [
                        {
                            "tenant_id": "acme_corp",
                            "tables": 6,
                            "rows": 1200,
                            "rows_are": "estimated",
                            "bytes": 573440,
                        }
                    ],
                    "skipped": [],
                }
            ]
        }
    )

    tenants: int
    items: list[DeletedTenantOut] = Field(description="Each of them, by id")
    skipped: list[str] = Field(description="Who fits, and is in a state that allows no deletion")

    @classmethod
    def of(cls, going: Sequence[Estimate], *, skipped: list[str]) -> Self:
        items = [
            DeletedTenantOut(
                tenant_id=one.tenant_id, tables=one.tables, rows=one.rows, rows_are="estimated", bytes=one.bytes
            )
            for one in going
        ]
        return cls(
            tenants=len(items),
            items=items,
            skipped=skipped,
            tables=sum(item.tables for item in items),
            rows=sum(item.rows for item in items),
            rows_are="estimated",
            bytes=sum(item.bytes for item in items),
        )
