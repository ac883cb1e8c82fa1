"""What is looked at, and when it is too much. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from app.collect.model import Collection, Collector, Fleet

Status: TypeAlias = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check. `reason` says what is wrong and what to do; `related` is the call that tells more."""

    status: Status
    observed: str | int | float | None = None
    unit: str | None = None
    reason: str | None = None
    time: datetime | None = None
    related: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """From where on a check warns, and fails. docs/health.md has each with what to do."""

    latency_ms: tuple[float, float] = (100.0, 1000.0)
    # In percent.
    pool: tuple[float, float] = (80.0, 100.0)
    lock_table: tuple[float, float] = (50.0, 80.0)
    queue_depth: int = 1000
    oldest_job: tuple[timedelta, timedelta] = (timedelta(minutes=1), timedelta(minutes=10))
    # Autovacuum begins to freeze at 200 million; PostgreSQL refuses to write three million before 2,147 million.
    transaction_ids: tuple[int, int] = (500_000_000, 1_500_000_000)
    certificate: tuple[timedelta, timedelta] = (timedelta(days=30), timedelta(days=3))
    api_keys: timedelta = timedelta(days=14)
    # A worker that says nothing for so long is lost; and so long it is told of.
    worker_lost: timedelta = timedelta(seconds=20)
    worker_told: timedelta = timedelta(minutes=10)
    isolation_age: timedelta = timedelta(hours=3)
    # Of collectors that are needed: of the others a late round is no fault.
    collection_age: Mapping[Collector, timedelta] = field(default_factory=dict)
    connections: tuple[float, float] = (80.0, 95.0)
    disk: tuple[float, float] = (80.0, 95.0)
    replication: tuple[timedelta, timedelta] = (timedelta(seconds=30), timedelta(minutes=5))
    # Dead rows of all, of a table of the catalogue that has so many.
    catalogue_bloat: tuple[float, float] = (50.0, 90.0)
    catalogue_dead_rows: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Some:
    """So many tenants, `more` than were counted perhaps, and the first of them."""

    count: int
    more: bool
    first: tuple[str, ...]

    @property
    def told(self) -> str:
        rest = ", …" if self.count > len(self.first) else ""
        return ", ".join(self.first) + rest


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What the database says in one look; `at` is its clock, in seconds are ages.

    `versions` are those that are applied, by layer. `opens` is of isolation, `locks` of the lock table's places.
    """

    at: datetime
    server_version: str
    versions: Mapping[str, int]
    queue_depth: int
    oldest_job: float | None
    workers: int
    lost_workers: int
    last_heartbeat: datetime | None
    failed: Some
    behind: Some
    over_limit: Some
    limits_checked_at: datetime | None
    drifted: Some
    isolation_checked_at: datetime | None
    isolation_faults: int
    isolation_opens: bool
    expiring_keys: int
    next_expiry: datetime | None
    xid_age: int
    locks: int
    lock_places: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one process knows of the database after it has looked. `failure` is why it could not."""

    seen: Seen | None
    latency_ms: float | None
    certificate_until: datetime | None = None
    collections: Mapping[Collector, Collection] = field(default_factory=dict)
    fleet: Fleet | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Connections of a process for requests: those in use, of so many that there may be."""

    in_use: int
    most: int
