"""Who asks for a change, what was recorded of it, and what a verification finds. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who asked for an operation or a change, and in which request."""

    actor: str
    role: str | None = None
    request_id: str | None = None
    traceparent: str | None = None
    source_address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A row of the audit trail. `seq` and `hash` are None until it is sealed."""

    id: int
    occurred_at: datetime
    actor: str
    role: str | None
    database_user: str
    source_address: str | None
    request_id: str | None
    action: str
    target: str
    outcome: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    seq: int | None
    hash: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where the chain stands. `floor_seq` is the last link that retention has dropped, 0 where none was."""

    chain_id: UUID
    seq: int
    hash: bytes
    floor_seq: int
    floor_hash: bytes
    sealed_at: datetime | None


class Fault(StrEnum):
    """What is wrong with the chain, where it is wrong first."""

    ALTERED = "altered"  # the row, or its place in the chain, is not what was sealed
    ROW_MISSING = "row_missing"  # it is sealed, and gone
    SEAL_MISSING = "seal_missing"  # a link of the chain is gone
    NEVER_SEALED = "never_sealed"  # a row that was put in behind the sealer
    TRUNCATED = "truncated"  # the chain ends before its recorded head, or before an anchor
    DROP_UNKNOWN = "drop_unknown"  # its beginning is gone, and no record of the trail says so
    ANCHOR_DIFFERS = "anchor_differs"  # the chain was made anew since it was anchored
    ANCHOR_INVALID = "anchor_invalid"  # an anchor's signature is not ours
    ANCHOR_UNREADABLE = "anchor_unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bad:
    """The first thing that is wrong: `audit_id` is the row of bf_control.audit, where it is one."""

    fault: Fault
    detail: str
    seq: int | None = None
    audit_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a verification looked at. Not `complete`: it goes on at `next_seq`.

    `unsealed` are rows that the sealer has not come to, `unsealed_seconds` the age of the oldest of them; `anchors`
    says how many were compared, None where none are kept.
    """

    first_seq: int
    last_seq: int
    rows: int
    complete: bool
    head: Head
    unsealed: int
    unsealed_seconds: float
    anchors: int | None
    bad: Bad | None

    @property
    def ok(self) -> bool:
        return self.bad is None

    @property
    def next_seq(self) -> int | None:
        return None if self.complete or self.bad is not None else self.last_seq + 1
