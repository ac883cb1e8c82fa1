"""What the service answers, as values. A newer service may say more: that is kept in `model_extra`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, Literal, Required, TypeAlias, TypedDict, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")


class TenantState(StrEnum):
    PROVISIONING = "provisioning"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DELETED = "deleted"
    PURGING = "purging"
    FAILED = "failed"


class OperationStatus(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


_TERMINAL: Final = frozenset({OperationStatus.SUCCEEDED, OperationStatus.FAILED, OperationStatus.CANCELLED})

# A word that this client does not know yet reads as plain text.
_State: TypeAlias = Annotated[TenantState | str, Field(union_mode="left_to_right")]
_Status: TypeAlias = Annotated[OperationStatus | str, Field(union_mode="left_to_right")]

TenantOrder: TypeAlias = Literal["id", "-id", "name", "-name", "created_at", "-created_at"]
OperationOrder: TypeAlias = Literal["created_at", "-created_at"]


class TenantOptions(TypedDict, total=False):
    """How a tenant is configured at its creation; what is left out, or None, has the service's default."""

    created_by: str | None
    subscription_tier: str | None
    billing_contact: str | None
    features_enabled: Sequence[str] | None
    limits: Mapping[str, int] | None
    config: Mapping[str, Any] | None
    integrations: Mapping[str, Mapping[str, Any]] | None


class NewTenant(TenantOptions):
    """One of a batch."""

    tenant_id: Required[str]
    tenant_name: Required[str]


class TenantChanges(TypedDict, total=False):
    """What is left out stays as it is; None clears the billing contact."""

    tenant_name: str
    subscription_tier: str
    billing_contact: str | None


class TenantQuery(TypedDict, total=False):
    """Which tenants; `all` goes without any other."""

    state: str | None
    tier: str | None
    feature: str | None
    schema_version: int | None
    q: str | None
    all: bool


class IntegrationSettings(TypedDict, total=False):
    """What of these a capability has is the service's to say."""

    enabled: bool
    endpoint: str | None
    realm: str | None
    level: str | None
    models: Sequence[str] | None


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class FieldError(_Model):
    """`pointer` is a JSON pointer into the body, or `query/NAME`, `header/NAME`."""

    pointer: str
    detail: str


class Problem(_Model):
    """RFC 9457, with a stable code."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    code: str
    request_id: str | None = None
    errors: tuple[FieldError, ...] | None = None


class Check(_Model):
    status: str
    observed: Any = None
    reason: str | None = None


class Health(_Model):
    """`status` is `pass`, `warn` or `fail`."""

    status: str
    checks: dict[str, Check]


class Tenant(_Model):
    """`etag` is what `if_match` takes; None where the answer had none, as in a list."""

    tenant_id: str
    tenant_name: str
    state: _State
    is_active: bool
    schema_name: str
    schema_version: int | None
    subscription_tier: str
    billing_contact: str | None = None
    generation: int
    created_at: datetime
    updated_at: datetime
    created_by: str
    last_operation: str | None = None
    error: Problem | None = None
    state_reason: str | None = None
    state_changed_at: datetime | None = None
    state_changed_by: str | None = None
    purge_time: datetime | None = None
    etag: str | None = Field(None, exclude=True)


class BatchItem(_Model):
    """`status` is what this tenant alone would have been answered with; `operation` the path of what makes it."""

    index: int
    tenant_id: str | None
    status: int
    operation: str | None = None
    problem: Problem | None = None


class Batch(_Model):
    """The items are in the order of the request."""

    accepted: int
    refused: int
    items: tuple[BatchItem, ...]


class Target(_Model):
    """What became of one tenant of a change of many: `pending`, `changed`, `unchanged` or `refused`.

    `before` and `after` are there in a preview.
    """

    tenant_id: str
    status: str
    problem: Problem | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Preview(_Model):
    """How many tenants a change would touch, and the first of them."""

    tenants: int
    items: tuple[Target, ...]


class Configuration(_Model):
    """`etag` is what `if_match` takes."""

    budget_features: dict[str, Any]
    forecast_features: dict[str, Any]
    analytics_features: dict[str, Any]
    external_systems: dict[str, Any]
    fiscal_year_start: str
    default_currency: str
    time_zone: str
    department_hierarchy: dict[str, Any]
    cost_centers: list[Any]
    approval_workflows: dict[str, Any]
    data_retention_days: int
    encryption_enabled: bool
    audit_level: str
    etag: str | None = Field(None, exclude=True)

    @property
    def document(self) -> dict[str, Any]:
        """What replace() takes."""
        return self.model_dump(mode="json")


class Difference(_Model):
    """`before` or `after` is not among `model_fields_set` where there was or is no such value."""

    pointer: str
    before: Any = None
    after: Any = None


class ConfigVersion(_Model):
    """`source` is `api` or `sql`; `restored_version` is what a rollback went back to."""

    version: int
    changed_at: datetime
    by: str
    database_user: str
    source: str
    documents: tuple[str, ...]
    reason: str | None
    restored_version: int | None
    difference: tuple[Difference, ...]


class Feature(_Model):
    """`source` is `default`, `tier` or `tenant`. Of what it `requires`, `missing` is not enabled, though it is.

    Not `known`: plain SQL put it there, and the catalogue does not have it.
    """

    name: str
    enabled: bool
    source: str
    known: bool = True
    requires: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Features(_Model):
    """What a tenant may use, and may not; `etag` is what `if_match` takes."""

    features: tuple[Feature, ...]
    etag: str | None = Field(None, exclude=True)

    @property
    def enabled(self) -> frozenset[str]:
        return frozenset(feature.name for feature in self.features if feature.enabled)


class CatalogFeature(_Model):
    """`tier` is the lowest one that includes it, None where none does."""

    name: str
    description: str
    tier: str | None
    enabled_by_default: bool
    requires: tuple[str, ...]
    etag: str | None = Field(None, exclude=True)


class CatalogFeatures(_Model):
    items: tuple[CatalogFeature, ...]


class CatalogTier(_Model):
    """It includes what tiers of a lower `rank` include."""

    name: str
    description: str
    rank: int
    etag: str | None = Field(None, exclude=True)


class CatalogTiers(_Model):
    items: tuple[CatalogTier, ...]


class FullTenant(Tenant):
    """A tenant with all that belongs to it; what is kept in its configuration is None until it has a schema."""

    config: dict[str, Any] | None
    features: tuple[Feature, ...] | None
    limits: dict[str, Any] | None
    integrations: dict[str, Any] | None
    health: Health


class Limits(_Model):
    """A tenant's limits: the value that holds, None for no limit, is in `values`, and where it comes from in `sources`.

    `exceeded`, of an answer to a change: of which more is used already.
    """

    max_budget_lines: int
    forecast_horizon_limit: int
    concurrent_users_limit: int
    sources: dict[str, str]
    exceeded: tuple[str, ...] = ()
    etag: str | None = Field(None, exclude=True)

    @property
    def values(self) -> dict[str, int | None]:
        return {name: getattr(self, name, None) for name in self.sources}


class Limit(_Model):
    """One of the catalogue. `default` is None for no limit; `enforcement` is `off`, `warn` or `enforce`."""

    name: str
    description: str
    unit: str
    minimum: int
    maximum: int
    default: int | None
    tiers: dict[str, int]
    enforcement: str
    etag: str | None = Field(None, exclude=True)


class Usage(_Model):
    """`used` is None for what the database does not see, `allowed` for no limit."""

    name: str
    unit: str
    used: int | None
    allowed: int | None
    percentage: float | None
    enforcement: str
    method: str | None
    measured_at: datetime | None


class UsageEvent(_Model):
    name: str
    percentage: int
    used: int
    allowed: int
    occurred_at: datetime


class TenantUsage(_Model):
    usage: tuple[Usage, ...]
    events: tuple[UsageEvent, ...]


class Step(_Model):
    """`duration_ms` is None while the step runs."""

    name: str
    status: _Status
    started_at: datetime
    duration_ms: float | None


class Progress(_Model):
    done: int
    total: int


class Operation(_Model):
    id: UUID
    kind: str
    tenant_id: str | None
    status: _Status
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    progress: Progress | None = None
    steps: tuple[Step, ...]
    result: dict[str, Any] | None
    error: Problem | None
    cancel_requested: bool = False
    request_id: str | None = None
    retry_of: UUID | None = None
    etag: str | None = Field(None, exclude=True)

    @property
    def done(self) -> bool:
        return self.status in _TERMINAL


OperationRef: TypeAlias = Operation | UUID | str


class OperationEvent(_Model):
    """`event` is `progress` or the status just reached; `id` is what `after` takes to go on from here."""

    id: str
    event: str
    operation: Operation


class BackupTable(_Model):
    """`checksum` is of all rows, in whichever order."""

    name: str
    rows: int
    checksum: str


class Backup(_Model):
    """A verified archive; the id is also that of the operation that made it."""

    id: UUID
    tenant_id: str
    generation: int
    schema_version: int
    server_version: int
    created_at: datetime
    created_by: str
    reason: str | None
    url: str
    sha256: str
    bytes: int
    tables: tuple[BackupTable, ...]


class Migration(_Model):
    """`applied_at` is None while it is pending."""

    layer: str
    version: int
    name: str
    checksum: str
    applied_at: datetime | None


class VersionCount(_Model):
    schema_version: int
    tenants: int


class SchemaState(_Model):
    """`current` and `latest` are versions by layer; None for a layer that is not installed."""

    server_version: str
    up_to_date: bool
    current: dict[str, int | None]
    latest: dict[str, int | None]
    pending: tuple[Migration, ...]
    applied: tuple[Migration, ...]
    fleet: tuple[VersionCount, ...]
    etag: str | None = Field(None, exclude=True)


class TenantSize(_Model):
    tenant_id: str
    schema_name: str
    bytes: int


class Page(_Model, Generic[T]):
    """`next_page_token` is None on the last page; `page_token` takes it."""

    items: tuple[T, ...]
    next_page_token: str | None = None


class Credential(_Model):
    """Never what it is; `set_at` is when it was given its present value."""

    set: bool
    set_at: datetime | None = None
    set_by: str | None = None


class Integration(_Model):
    """`stored` is the document as SQL wrote it, where that is not `valid`, for the reasons in `errors`."""

    capability: str
    enabled: bool | None
    endpoint: str | None
    realm: str | None = None
    level: str | None = None
    models: list[str] | None = None
    credentials: dict[str, Credential]
    valid: bool
    errors: tuple[FieldError, ...] = ()
    stored: Any = None
    etag: str | None = Field(None, exclude=True)


class IntegrationList(_Model):
    items: tuple[Integration, ...]


class CheckError(_Model):
    code: str
    detail: str


class IntegrationCheck(_Model):
    """`status` is HTTP's, None where nothing answered."""

    ok: bool
    status: int | None
    latency_ms: float
    checked_at: datetime
    error: CheckError | None = None


class DowngradePlan(_Model):
    """What a downgrade would destroy. `blockers` are not the service's, and must be gone before."""

    database: str
    tenants: tuple[TenantSize, ...]
    bytes: int
    blockers: tuple[str, ...]
    confirmation: str | None = None
    expires_at: datetime | None = None
