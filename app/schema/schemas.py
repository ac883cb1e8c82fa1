"""The schema's state on the wire."""

from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from app.plans.schemas import PlanOut, Token
from app.schema.downgrade import Plan
from app.schema.service import SchemaState


class MigrationOut(BaseModel):
    layer: str
    version: int
    name: str
    checksum: str
    applied_at: datetime | None


class LayerVersions(BaseModel):
    control: int | None = None
    shared: int | None = None
    tenant: int | None = None


class VersionCount(BaseModel):
    schema_version: int
    tenants: int


class SchemaOut(BaseModel):
    server_version: str = Field(examples=["18.6"])
    up_to_date: bool
    current: LayerVersions = Field(description="Null for a layer that is not installed")
    latest: LayerVersions
    pending: list[MigrationOut]
    applied: list[MigrationOut]
    fleet: list[VersionCount] = Field(description="Number of tenants at each schema version")

    @classmethod
    def of(cls, state: SchemaState) -> Self:
        shown = [
            MigrationOut(layer=m.layer, version=m.version, name=m.name, checksum=m.checksum, applied_at=m.applied_at)
            for m in state.migrations
        ]
        return cls(
            server_version=state.server_version,
            up_to_date=state.up_to_date,
            current=LayerVersions(**state.current),
            latest=LayerVersions(**state.latest),
            pending=[m for m in shown if m.applied_at is None],
            applied=[m for m in shown if m.applied_at is not None],
            fleet=[VersionCount(schema_version=v, tenants=n) for v, n in sorted(state.tenants.items())],
        )


class UpgradeIn(BaseModel):
    """There is one target so far: everything this release has."""

    model_config = ConfigDict(extra="forbid")

    target: Literal["latest"] = "latest"


class DowngradeIn(BaseModel):
    """Without `confirmation`: make a plan. With that of a plan: do what it says."""

    model_config = ConfigDict(extra="forbid")

    confirmation: Token | None = None


class TenantLossOut(BaseModel):
    tenant_id: str
    schema_name: str
    tables: int
    rows: int = Field(description="An estimate from the last VACUUM or ANALYZE")
    bytes: int = Field(description="On disk; an estimate from the last VACUUM or ANALYZE")


class DowngradePlanOut(PlanOut):
    """What a downgrade would drop, and what must be repeated to have it done."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "plan_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e13",
                    "needs_approval": False,
                    "confirmation": "dOj3GmXkZpTTPEo0MDZ1wQ0Kx6y3V2c8p5b1sVqYz7A",
                    "expires_at": "2026-01-31T09:40:00.000000Z",
                    "database": "apg",
                    "tables": 6,
                    "rows": 1200,
                    "rows_are": "estimated",
                    "bytes": 573440,
                    "tenants": [
                        {
                            "tenant_id": "acme_corp",
                            "schema_name": "bf_acme_corp",
                            "tables": 6,
                            "rows": 1200,
                            "bytes": 573440,
                        }
                    ],
                    "blockers": [],
                }
            ]
        }
    )

    database: str
    tenants: list[TenantLossOut]
    blockers: list[str] = Field(description="What is not ours and stands in the way: move or drop it first")

    @classmethod
    def of(cls, plan: Plan) -> Self:
        return cls(
            database=plan.database,
            tenants=[
                TenantLossOut(
                    tenant_id=t.tenant_id, schema_name=t.schema_name, tables=t.tables, rows=t.rows, bytes=t.size
                )
                for t in plan.tenants
            ],
            tables=sum(t.tables for t in plan.tenants),
            rows=sum(t.rows for t in plan.tenants),
            rows_are="estimated",
            bytes=plan.size,
            blockers=list(plan.blockers),
        )
