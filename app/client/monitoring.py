"""What collectors have seen, as values."""

from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

from app.client._model import Model
from app.client.models import Page

T = TypeVar("T")

TableOrder: TypeAlias = Literal[
    "total_bytes", "-total_bytes", "live_rows", "-live_rows", "dead_rows", "-dead_rows", "tenant_id", "-tenant_id"
]
IndexOrder: TypeAlias = Literal[
    "tuples_read", "-tuples_read", "scans", "-scans", "bytes", "-bytes", "tenant_id", "-tenant_id"
]
StatementOrder: TypeAlias = Literal["mean_ms", "-mean_ms", "total_ms", "-total_ms", "calls", "-calls"]
ConnectionOrder: TypeAlias = Literal["connections", "-connections", "waiting", "-waiting"]


class CollectionNote(Model):
    """What could not be seen; `mend` is SQL, or what to do."""

    reason: str
    mend: str | None = None


class SnapshotPage(Page[T], Generic[T]):
    """`taken_at` is when the collector last ended, None before that."""

    taken_at: datetime | None = None
    notes: tuple[CollectionNote, ...] = ()


class TableSnapshot(Model):
    """Rows are estimates; `last_…` by hand or by autovacuum."""

    tenant_id: str
    table_name: str
    taken_at: datetime
    total_bytes: int
    heap_bytes: int
    index_bytes: int
    toast_bytes: int
    live_rows: int
    dead_rows: int
    sequential_scans: int
    index_count: int
    policy_count: int
    rls_enabled: bool
    rls_forced: bool
    last_vacuum_at: datetime | None = None
    last_analyze_at: datetime | None = None


class IndexSnapshot(Model):
    """`is_unused`: no scan since statistics were reset, and it holds nothing unique."""

    tenant_id: str
    index_name: str
    table_name: str
    taken_at: datetime
    bytes: int
    scans: int
    tuples_read: int
    tuples_fetched: int
    is_unique: bool
    is_valid: bool
    is_unused: bool


class StatementSnapshot(Model):
    """`query` has no constants; `tenant_id` is None where neither it nor the role tells."""

    id: str
    tenant_id: str | None = None
    role: str
    query: str
    calls: int
    total_ms: float
    mean_ms: float
    max_ms: float
    rows: int
    blocks_read: int


class ConnectionSnapshot(Model):
    """Clients of one role, application and state; `waiting` of them for a lock."""

    role: str
    application: str
    state: str
    connections: int
    waiting: int
    oldest_transaction_seconds: float | None = None
    longest_in_state_seconds: float | None = None


class SchemaSnapshot(Model):
    """A tenant's schema: sums, and what is not as it must be."""

    tenant_id: str
    taken_at: datetime
    total_bytes: int
    heap_bytes: int
    index_bytes: int
    toast_bytes: int
    live_rows: int
    dead_rows: int
    table_count: int
    index_count: int
    invalid_indexes: int
    unused_indexes: int
    missing_tables: tuple[str, ...] = ()
    missing_indexes: tuple[str, ...] = ()
    open_tables: tuple[str, ...] = ()
    intact: bool


class LockWait(Model):
    """`holders` are the roles of those who are in front."""

    relation: str | None = None
    tenant_id: str | None = None
    mode: str
    waiting: int
    longest_seconds: float | None = None
    holders: tuple[str, ...] = ()


class CatalogueTable(Model):
    name: str
    bytes: int
    live_rows: int
    dead_rows: int


class Standby(Model):
    name: str
    state: str | None = None
    sync_state: str | None = None
    lag_bytes: int | None = None
    lag_seconds: float | None = None


class TenantCount(Model):
    state: str
    schema_version: int | None = None
    subscription_tier: str
    tenants: int


class DatabaseSnapshot(Model):
    """The database as a whole. PostgreSQL stops at a `transaction_age` of 2 billion."""

    taken_at: datetime
    database_bytes: int
    transaction_age: int
    multixact_age: int
    freeze_max_age: int
    connections: int
    max_connections: int
    locks_used: int
    locks_limit: int
    lock_waits: tuple[LockWait, ...] = ()
    catalogue: tuple[CatalogueTable, ...] = ()
    standbys: tuple[Standby, ...] = ()
    slot_bytes: int | None = None
    tenants: tuple[TenantCount, ...] = ()
    statistics_reset_at: datetime | None = None
    disk_bytes: int | None = None
    disk_free_bytes: int | None = None


class Collection(Model):
    """How a collector's last round went: `error` is None where it succeeded."""

    collector: str
    started_at: datetime | None = None
    ended_at: datetime | None = None
    succeeded_at: datetime | None = None
    duration_ms: int | None = None
    failed_at: datetime | None = None
    error: str | None = None
    tenants: int = 0
    notes: tuple[CollectionNote, ...] = ()


class FleetSnapshot(SnapshotPage[SchemaSnapshot]):
    """A page of tenants' schemas, with the database; None before the first look."""

    database: DatabaseSnapshot | None = None
    collections: tuple[Collection, ...] = ()
