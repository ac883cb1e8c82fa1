"""What the service answers, as values. A newer service may say more: that is kept in `model_extra`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Generic, Literal, Required, TypeAlias, TypedDict, TypeVar
from uuid import UUID

from pydantic import Field

from app.client._model import FieldError, Model
from app.client.settings import Feature

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


class Problem(Model):
    """RFC 9457, with a stable code."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None
    code: str
    request_id: str | None = None
    errors: tuple[FieldError, ...] | None = None


class Check(Model):
    status: str
    observed: Any = None
    reason: str | None = None


class Health(Model):
    """`status` is `pass`, `warn` or `fail`."""

    status: str
    checks: dict[str, Check]


class Tenant(Model):
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


class BatchItem(Model):
    """`status` is what this tenant alone would have been answered with; `operation` the path of what makes it."""

    index: int
    tenant_id: str | None
    status: int
    operation: str | None = None
    problem: Problem | None = None


class Batch(Model):
    """The items are in the order of the request."""

    accepted: int
    refused: int
    items: tuple[BatchItem, ...]


class Target(Model):
    """What became of one tenant of a change of many: `pending`, `changed`, `unchanged` or `refused`.

    `before` and `after` are there in a preview.
    """

    tenant_id: str
    status: str
    problem: Problem | None = None
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None


class Preview(Model):
    """How many tenants a change would touch, and the first of them."""

    tenants: int
    items: tuple[Target, ...]


class FullTenant(Tenant):
    """A tenant with all that belongs to it; what is kept in its configuration is None until it has a schema."""

    config: dict[str, Any] | None
    features: tuple[Feature, ...] | None
    limits: dict[str, Any] | None
    integrations: dict[str, Any] | None
    health: Health


class Step(Model):
    """`duration_ms` is None while the step runs."""

    name: str
    status: _Status
    started_at: datetime
    duration_ms: float | None


class Progress(Model):
    done: int
    total: int


class Operation(Model):
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


class OperationEvent(Model):
    """`event` is `progress` or the status just reached; `id` is what `after` takes to go on from here."""

    id: str
    event: str
    operation: Operation


class Drift(Model):
    """An object of a tenant's schema: what of it should be and is not, and what is instead."""

    kind: str
    name: str
    expected: str | None
    actual: str | None


class Verification(Model):
    """A tenant's catalogue beside what its version and its state say."""

    ok: bool
    missing: tuple[Drift, ...]
    extra: tuple[Drift, ...]
    altered: tuple[Drift, ...]


class BackupTable(Model):
    """`checksum` is of all rows, in whichever order."""

    name: str
    rows: int
    checksum: str


class Backup(Model):
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


class ApiKey(Model):
    """`replaces` is the key that was rotated into this one."""

    id: str
    name: str
    role: str
    tenant_id: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None = None
    replaces: str | None = None
    usable: bool


class NewApiKey(ApiKey):
    """`key` is the secret: shown once, and not by repr()."""

    key: str | None = Field(None, repr=False)


class Migration(Model):
    """`applied_at` is None while it is pending."""

    layer: str
    version: int
    name: str
    checksum: str
    applied_at: datetime | None


class VersionCount(Model):
    schema_version: int
    tenants: int


class IsolationFault(Model):
    """`tenant_id` is None for what concerns all tenants; `mend` is SQL."""

    kind: str
    tenant_id: str | None
    reason: str
    mend: str


class Isolation(Model):
    """What the last look found. `status` is `pass`, `warn` (something is left over) or `fail` (something is open)."""

    status: str
    checked_at: datetime | None
    duration_ms: int
    tenants: int
    fault_count: int
    faults: tuple[IsolationFault, ...]


class SchemaState(Model):
    """`current` and `latest` are versions by layer; None for a layer that is not installed."""

    server_version: str
    up_to_date: bool
    current: dict[str, int | None]
    latest: dict[str, int | None]
    pending: tuple[Migration, ...]
    applied: tuple[Migration, ...]
    fleet: tuple[VersionCount, ...]
    etag: str | None = Field(None, exclude=True)


class TenantSize(Model):
    """`rows` is an estimate."""

    tenant_id: str
    schema_name: str
    tables: int = 0
    rows: int = 0
    bytes: int


class Page(Model, Generic[T]):
    """`next_page_token` is None on the last page; `page_token` takes it."""

    items: tuple[T, ...]
    next_page_token: str | None = None


class Plan(Model):
    """What would be lost. `confirmation` has it done: once, by the same caller, until `expires_at`. `needs_approval`:
    not before another admin has approved the plan.
    """

    tables: int = 0
    rows: int = 0
    rows_are: Literal["exact", "estimated"] = "estimated"
    bytes: int
    plan_id: UUID | None = None
    needs_approval: bool = False
    confirmation: str | None = None
    expires_at: datetime | None = None


class DowngradePlan(Plan):
    """What a downgrade would destroy. `blockers` are not the service's, and must be gone before."""

    database: str
    tenants: tuple[TenantSize, ...]
    blockers: tuple[str, ...]


class TableLoss(Model):
    name: str
    rows: int
    rows_are: Literal["exact", "estimated"]
    bytes: int


class PurgePlan(Plan):
    tenant_id: str
    generation: int
    waive_backup: bool
    items: tuple[TableLoss, ...]


class TenantLoss(Model):
    tenant_id: str
    tables: int
    rows: int
    bytes: int


class DeletionPlan(Plan):
    """Whom a deletion of many would delete. `skipped` fit too, in a state that allows no deletion."""

    tenants: int
    items: tuple[TenantLoss, ...]
    skipped: tuple[str, ...]


class StoredPlan(Model):
    """A plan, for whoever is asked to approve it; `loss` is what it said."""

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
    loss: dict[str, Any]
    etag: str | None = Field(None, exclude=True)
