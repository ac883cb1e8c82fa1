"""What collectors keep of tenants' tables and of the database. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Collector(StrEnum):
    """FLEET looks at the database as a whole, TENANTS at each one's tables; HISTORY thins what they keep."""

    FLEET = "fleet"
    TENANTS = "tenants"
    STATEMENTS = "statements"
    HISTORY = "history"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What a collector could not see, or did not do. `mend` is SQL for a superuser, or an instruction."""

    reason: str
    mend: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection:
    """How the last round went. Not `ended_at`: it runs, or whoever made it died, and another process goes on with it.

    `error` is that of the last round, None where it succeeded; `duration_ms` of the last that did. `tenants` were
    looked at.
    """

    collector: Collector
    started_at: datetime | None
    ended_at: datetime | None
    succeeded_at: datetime | None
    duration_ms: int | None
    failed_at: datetime | None
    error: str | None
    tenants: int
    notes: Sequence[Note]


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """A tenant's schema at `taken_at`: the sums of its tables, and what is not as it must be.

    `open_tables` are those whose row-level security is not enabled, forced, and with policies.
    """

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
    missing_tables: Sequence[str]
    missing_indexes: Sequence[str]
    open_tables: Sequence[str]
    intact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table of a tenant. Rows are PostgreSQL's estimates; last_… are by hand or by autovacuum."""

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
    last_vacuum_at: datetime | None
    last_analyze_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """One index of a tenant. `is_unused`: no scan since statistics were reset, and it holds nothing unique."""

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


@dataclass(frozen=True, slots=True)
class TableSize:
    bytes: int
    live_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A tenant's size from `taken_at` on, until the next sample."""

    taken_at: datetime
    total_bytes: int
    live_rows: int
    dead_rows: int
    tables: Mapping[str, TableSize]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Calls of one statement by one role, since its statistics were reset. `query` has neither constants nor comments.

    `tenant_id` is None where neither the text nor the role tells, and where it is of several.
    """

    id: str
    tenant_id: str | None
    role: str
    query: str
    calls: int
    total_ms: float
    mean_ms: float
    max_ms: float
    rows: int
    blocks_read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Clients of one role, application and state; `waiting` of them for a lock."""

    role: str
    application: str
    state: str
    connections: int
    waiting: int
    oldest_transaction_seconds: float | None
    longest_in_state_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LockWait:
    """Sessions that wait for one lock. `holders` are the roles of those in front of them."""

    relation: str | None
    tenant_id: str | None
    mode: str
    waiting: int
    longest_seconds: float | None
    holders: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueTable:
    """One of PostgreSQL's own, which grow with the number of tenants."""

    name: str
    bytes: int
    live_rows: int
    dead_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standby:
    """Lags are None where they are not known: while it catches up, or without pg_monitor."""

    name: str
    state: str | None
    sync_state: str | None
    lag_bytes: int | None
    lag_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantCount:
    state: str
    schema_version: int | None
    subscription_tier: str
    tenants: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """The database as a whole at `taken_at`.

    `transaction_age` is that of the oldest transaction not frozen; PostgreSQL stops at 2 billion. `disk_…` are None
    unless a worker sees the volume (BF_DISK_PATH). `slot_bytes`: WAL that the slot furthest behind holds back.
    """

    taken_at: datetime
    database_bytes: int
    transaction_age: int
    multixact_age: int
    freeze_max_age: int
    connections: int
    max_connections: int
    locks_used: int
    locks_limit: int
    lock_waits: Sequence[LockWait]
    catalogue: Sequence[CatalogueTable]
    standbys: Sequence[Standby]
    slot_bytes: int | None
    tenants: Sequence[TenantCount]
    statistics_reset_at: datetime | None
    disk_bytes: int | None
    disk_free_bytes: int | None

    def tenants_by(self, what: str) -> dict[Any, int]:
        """How many, by `state`, `schema_version` or `subscription_tier`."""
        found: dict[Any, int] = {}
        for count in self.tenants:
            found[getattr(count, what)] = found.get(getattr(count, what), 0) + count.tenants
        return found
