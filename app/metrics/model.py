"""What the database tells of the fleet. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

# Seconds an operation may take, by bucket: those of bf_control.operation_bucket().
BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """Operations of one kind that are queued or running."""

    kind: str
    status: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Operations of one kind that ended alike, since the database was made. `cumulative` is by BOUNDS, and then all."""

    kind: str
    outcome: str
    cumulative: Sequence[int]
    seconds: float

    @property
    def count(self) -> int:
        return self.cumulative[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is under way. Ages are of the oldest, in seconds, 0 where there is none; `jobs` are by their status."""

    jobs: Mapping[str, int]
    oldest_job: float
    unfinished: Sequence[Unfinished]
    ended: Sequence[Ended]
    unsealed: int
    seal_lag: float
    deliveries: Mapping[str, int]
    oldest_delivery: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenants:
    """How many there are that are alike in this."""

    state: str
    schema_version: int | None
    tier: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """When a collector last came to the end of its round, in seconds of Unix time."""

    collector: str
    succeeded_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """One of the largest tenants, as a collector has seen it."""

    tenant_id: str
    total_bytes: int
    live_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The database as a whole at the last look of a collector. `lags` are seconds, by standby."""

    bytes: int
    transaction_age: int
    connections: int
    max_connections: int
    locks: int
    max_locks: int
    lags: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """`behind` tenants are below the newest version of a tenant's schema; `snapshot` is None before the first."""

    tenants: Sequence[Tenants]
    behind: int
    snapshot: Snapshot | None
    collected: Sequence[Collected]
    largest: Sequence[Large]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    work: Work
    fleet: Fleet
