"""The schema's state on the wire."""

from datetime import datetime
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

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

    target: str = Field("latest", pattern="^latest$", description="`latest`")
