"""The audit trail on the wire."""

from datetime import datetime
from typing import Any, Final, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.audit.model import Bad, Fault, Record, Verified

_HASH: Final = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
_RECORD: Final[dict[str, Any]] = {
    "id": 4711,
    "occurred_at": "2026-01-31T09:30:00.012345Z",
    "actor": "key:1f0c6a2b9d3e4f58",
    "role": "operator",
    "database_user": "bf_service",
    "source_address": "192.0.2.7",
    "request_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e12",
    "action": "tenant.suspend",
    "target": "tenant/acme_corp",
    "outcome": "succeeded",
    "before": {"state": "active"},
    "after": {"state": "suspended", "reason": "unpaid"},
    "seal": {"seq": 4709, "hash": _HASH},
}
_VERIFIED: Final[dict[str, Any]] = {
    "ok": True,
    "complete": True,
    "first_seq": 1,
    "last_seq": 4709,
    "next_seq": None,
    "rows": 4709,
    "head": {
        "chain_id": "0198f2c6-7d3b-7c53-a6a4-2d1f3c0b9e11",
        "seq": 4709,
        "hash": _HASH,
        "sealed_at": "2026-01-31T09:30:02.000000Z",
        "dropped_seq": 0,
    },
    "unsealed": 2,
    "unsealed_seconds": 0.8,
    "anchors_compared": 20,
    "first_bad": None,
}


class SealOut(BaseModel):
    """Its place in the chain, and the hash of the row there (SHA-256, hex)."""

    seq: int
    hash: str


class AuditRecordOut(BaseModel):
    """`seal` is null for a second or two, until the sealer has come to the row."""

    model_config = ConfigDict(json_schema_extra={"examples": [_RECORD]})

    id: int
    occurred_at: datetime
    actor: str = Field(description="`key:ID` of an API key, `cli:USER` of a shell, `service:NAME`, or a database user")
    role: str | None
    database_user: str
    source_address: str | None
    request_id: str | None
    action: str
    target: str
    outcome: Literal["accepted", "succeeded", "failed", "cancelled", "denied"]
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    seal: SealOut | None

    @classmethod
    def of(cls, record: Record) -> Self:
        seal = None
        if record.seq is not None and record.hash is not None:
            seal = SealOut(seq=record.seq, hash=record.hash.hex())
        return cls(
            id=record.id,
            occurred_at=record.occurred_at,
            actor=record.actor,
            role=record.role,
            database_user=record.database_user,
            source_address=record.source_address,
            request_id=record.request_id,
            action=record.action,
            target=record.target,
            outcome=record.outcome,
            before=record.before,
            after=record.after,
            seal=seal,
        )


class AuditPage(BaseModel):
    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_RECORD]}]})

    items: list[AuditRecordOut]
    next_page_token: str = Field(default="", description="Absent on the last page")


class ChainHeadOut(BaseModel):
    """`dropped_seq` is the last link that retention has dropped."""

    chain_id: UUID
    seq: int
    hash: str
    sealed_at: datetime | None
    dropped_seq: int


class BadLinkOut(BaseModel):
    """`audit_id` is the row, where it is one; `seq` its place in the chain."""

    fault: Fault
    detail: str
    seq: int | None
    audit_id: int | None

    @classmethod
    def of(cls, bad: Bad) -> Self:
        return cls(fault=bad.fault, detail=bad.detail, seq=bad.seq, audit_id=bad.audit_id)


class VerifiedOut(BaseModel):
    """Not `complete`: ask again from `next_seq` on. `ok` is of what was looked at."""

    model_config = ConfigDict(json_schema_extra={"examples": [_VERIFIED]})

    ok: bool
    complete: bool
    first_seq: int
    last_seq: int
    next_seq: int | None
    rows: int
    head: ChainHeadOut
    unsealed: int = Field(description="Rows that the sealer has not come to yet")
    unsealed_seconds: float = Field(description="How long the oldest of them has waited")
    anchors_compared: int | None = Field(description="Null where none are kept, or the end was not reached")
    first_bad: BadLinkOut | None

    @classmethod
    def of(cls, found: Verified) -> Self:
        return cls(
            ok=found.ok,
            complete=found.complete,
            first_seq=found.first_seq,
            last_seq=found.last_seq,
            next_seq=found.next_seq,
            rows=found.rows,
            head=ChainHeadOut(
                chain_id=found.head.chain_id,
                seq=found.head.seq,
                hash=found.head.hash.hex(),
                sealed_at=found.head.sealed_at,
                dropped_seq=found.head.floor_seq,
            ),
            unsealed=found.unsealed,
            unsealed_seconds=round(found.unsealed_seconds, 3),
            anchors_compared=found.anchors,
            first_bad=None if found.bad is None else BadLinkOut.of(found.bad),
        )
