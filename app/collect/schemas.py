"""What was collected, on the wire."""

from datetime import datetime
from typing import Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field

from app.collect.model import Collector
from app.collect.service import Overview

_AT: Final = "2026-01-31T09:30:00.012345Z"
_NOTES: Final = Field(description="What could not be seen, and what mends that")
_TAKEN_AT: Final = Field(description="When the collector last ended; null before that")
_TABLE: Final[dict[str, Any]] = {
    "tenant_id": "acme_corp",
    "table_name": "budget_lines",
    "taken_at": _AT,
    "total_bytes": 1196032,
    "heap_bytes": 811008,
    "index_bytes": 376832,
    "toast_bytes": 8192,
    "live_rows": 4200,
    "dead_rows": 17,
    "sequential_scans": 3,
    "index_count": 4,
    "policy_count": 2,
    "rls_enabled": True,
    "rls_forced": True,
    "last_vacuum_at": "2026-01-31T03:00:00.000000Z",
    "last_analyze_at": "2026-01-31T03:00:01.000000Z",
}
_INDEX: Final[dict[str, Any]] = {
    "tenant_id": "acme_corp",
    "index_name": "idx_acme_corp_budget_lines_period",
    "table_name": "budget_lines",
    "taken_at": _AT,
    "bytes": 122880,
    "scans": 0,
    "tuples_read": 0,
    "tuples_fetched": 0,
    "is_unique": False,
    "is_valid": True,
    "is_unused": True,
}
_STATEMENT: Final[dict[str, Any]] = {
    "id": "9d1f3c0b9e12a6a4/app_login",
    "tenant_id": "acme_corp",
    "role": "app_login",
    "query": "SELECT * FROM bf_acme_corp.budget_lines WHERE budget_id = $1",
    "calls": 1200,
    "total_ms": 5400.5,
    "mean_ms": 4.5,
    "max_ms": 120.25,
    "rows": 88000,
    "blocks_read": 310,
}
_CONNECTIONS: Final[dict[str, Any]] = {
    "role": "app_login",
    "application": "budgeting",
    "state": "idle in transaction",
    "connections": 4,
    "waiting": 0,
    "oldest_transaction_seconds": 12.5,
    "longest_in_state_seconds": 11.75,
}
_SCHEMA: Final[dict[str, Any]] = {
    "tenant_id": "acme_corp",
    "taken_at": _AT,
    "total_bytes": 2457600,
    "heap_bytes": 1622016,
    "index_bytes": 786432,
    "toast_bytes": 49152,
    "live_rows": 5100,
    "dead_rows": 17,
    "table_count": 5,
    "index_count": 20,
    "invalid_indexes": 0,
    "unused_indexes": 3,
    "missing_tables": ["scenarios"],
    "missing_indexes": ["idx_acme_corp_scenarios_type"],
    "open_tables": [],
    "intact": False,
}
_NOTE: Final[dict[str, Any]] = {
    "reason": "The extension pg_stat_statements is not installed in this database.",
    "mend": "CREATE EXTENSION pg_stat_statements;",
}
_COLLECTION: Final[dict[str, Any]] = {
    "collector": "tenants",
    "started_at": _AT,
    "ended_at": "2026-01-31T09:30:02.500000Z",
    "succeeded_at": "2026-01-31T09:30:02.500000Z",
    "duration_ms": 2488,
    "failed_at": None,
    "error": None,
    "tenants": 1000,
    "notes": [],
}
_DATABASE: Final[dict[str, Any]] = {
    "taken_at": _AT,
    "database_bytes": 524288000,
    "transaction_age": 1200000,
    "multixact_age": 1,
    "freeze_max_age": 200000000,
    "connections": 14,
    "max_connections": 100,
    "locks_used": 12,
    "locks_limit": 6400,
    "lock_waits": [],
    "catalogue": [{"name": "pg_attribute", "bytes": 104857600, "live_rows": 450000, "dead_rows": 1200}],
    "standbys": [
        {"name": "standby1", "state": "streaming", "sync_state": "async", "lag_bytes": 0, "lag_seconds": 0.01}
    ],
    "slot_bytes": None,
    "tenants": [{"state": "active", "schema_version": 2, "subscription_tier": "standard", "tenants": 1000}],
    "statistics_reset_at": None,
    "disk_bytes": None,
    "disk_free_bytes": None,
}


def _page(item: dict[str, Any], **others: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [{"items": [item], "taken_at": _AT, "notes": [], **others}]})


class Row(BaseModel):
    """Has the members of the value it is made of."""

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, row: object) -> Self:
        return cls.model_validate(row)


class NoteOut(Row):
    """`mend` is SQL for a superuser, or what to do; null where there is nothing to mend."""

    model_config = ConfigDict(json_schema_extra={"examples": [_NOTE]})

    reason: str
    mend: str | None


class TableSnapshotOut(Row):
    """One table of a tenant. Rows are estimates of PostgreSQL's; `last_…` by hand or by autovacuum."""

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


class IndexSnapshotOut(Row):
    """One index of a tenant. Counters run since `statistics_reset_at` of the fleet; `is_unused`: no scan since then,
    and it holds nothing unique.
    """

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


class StatementSnapshotOut(Row):
    """`query` has neither constants nor comments. `tenant_id` is null where neither it nor the role tells."""

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


class ConnectionSnapshotOut(Row):
    """Clients of one role, application and state (`hidden`: we may not see it); `waiting` of them for a lock."""

    role: str
    application: str
    state: str
    connections: int
    waiting: int
    oldest_transaction_seconds: float | None
    longest_in_state_seconds: float | None


class SchemaSnapshotOut(Row):
    """A tenant's schema: the sums of its tables, and what is not as it must be. `open_tables`: those whose row-level
    security is not enabled, forced, and with policies. `POST /v1/tenants/{id}/verify` looks closer, and now.
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
    missing_tables: list[str]
    missing_indexes: list[str]
    open_tables: list[str]
    intact: bool


class LockWaitOut(Row):
    """Sessions that wait for a lock; `holders` are the roles of those in front of them."""

    relation: str | None
    tenant_id: str | None
    mode: str
    waiting: int
    longest_seconds: float | None
    holders: list[str]


class CatalogueTableOut(Row):
    """One of PostgreSQL's own tables, which grow with the number of tenants."""

    name: str
    bytes: int
    live_rows: int
    dead_rows: int


class StandbyOut(Row):
    """Lags are null where they are not known."""

    name: str
    state: str | None
    sync_state: str | None
    lag_bytes: int | None
    lag_seconds: float | None


class TenantCountOut(Row):
    state: str
    schema_version: int | None
    subscription_tier: str
    tenants: int


class DatabaseSnapshotOut(Row):
    """The database as a whole. PostgreSQL stops at a `transaction_age` of 2 billion, and autovacuum freezes from
    `freeze_max_age` on.
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
    lock_waits: list[LockWaitOut]
    catalogue: list[CatalogueTableOut]
    standbys: list[StandbyOut]
    slot_bytes: int | None = Field(description="WAL that the replication slot furthest behind holds back")
    tenants: list[TenantCountOut]
    statistics_reset_at: datetime | None
    disk_bytes: int | None = Field(description="null unless workers see the volume: BF_DISK_PATH")
    disk_free_bytes: int | None


class CollectionOut(Row):
    """How a collector's last round went; one without `ended_at` runs, or another process goes on with it."""

    collector: Collector
    started_at: datetime | None
    ended_at: datetime | None
    succeeded_at: datetime | None
    duration_ms: int | None = Field(description="Of the last round that succeeded")
    failed_at: datetime | None
    error: str | None = Field(description="Of the last round; null where it succeeded")
    tenants: int
    notes: list[NoteOut]


class _Page(BaseModel):
    next_page_token: str = Field(default="", description="Absent on the last page")
    taken_at: datetime | None = _TAKEN_AT
    notes: list[NoteOut] = _NOTES


class TableSnapshotPage(_Page):
    model_config = _page(_TABLE)

    items: list[TableSnapshotOut]


class IndexSnapshotPage(_Page):
    model_config = _page(_INDEX)

    items: list[IndexSnapshotOut]


class StatementSnapshotPage(_Page):
    model_config = _page(_STATEMENT)

    items: list[StatementSnapshotOut]


class ConnectionSnapshotPage(_Page):
    model_config = _page(_CONNECTIONS)

    items: list[ConnectionSnapshotOut]


class FleetSnapshotPage(_Page):
    """`items` are the tenants' schemas."""

    model_config = _page(_SCHEMA, database=_DATABASE, collections=[_COLLECTION])

    database: DatabaseSnapshotOut | None = Field(description="null before the first look")
    collections: list[CollectionOut]
    items: list[SchemaSnapshotOut]


PAGES: Final = (
    TableSnapshotPage, IndexSnapshotPage, StatementSnapshotPage, ConnectionSnapshotPage, FleetSnapshotPage,
)  # fmt: skip


def overview_out(found: Overview) -> dict[str, Any]:
    """What a page of the fleet has besides its items."""
    database = None if found.fleet is None else DatabaseSnapshotOut.of(found.fleet).model_dump(mode="json")
    return {
        "database": database,
        "collections": [CollectionOut.of(each).model_dump(mode="json") for each in found.collections],
    }
