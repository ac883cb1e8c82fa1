"""Rows of the audit trail, as values."""

from datetime import datetime
from typing import Any, TypedDict
from uuid import UUID

from app.client._model import Model


class AuditQuery(TypedDict, total=False):
    """Which rows; `since` and `until` are the call's `from` and `to`."""

    actor: str | None
    action: str | None
    target: str | None
    tenant_id: str | None
    outcome: str | None
    request_id: str | None
    since: datetime | None
    until: datetime | None


class Seal(Model):
    """Its place in the chain, and the hash there, in hex."""

    seq: int
    hash: str


class AuditRecord(Model):
    """`seal` is None until the sealer has come to it."""

    id: int
    occurred_at: datetime
    actor: str
    role: str | None = None
    database_user: str
    source_address: str | None = None
    request_id: str | None = None
    action: str
    target: str
    outcome: str
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    seal: Seal | None = None


class ChainHead(Model):
    chain_id: UUID
    seq: int
    hash: str
    sealed_at: datetime | None = None
    dropped_seq: int = 0


class BadLink(Model):
    """What is wrong first: `audit_id` is the row, where it is one."""

    fault: str
    detail: str
    seq: int | None = None
    audit_id: int | None = None


class AuditVerification(Model):
    """`ok` is of what was looked at; not `complete`: it goes on at `next_seq`."""

    ok: bool
    complete: bool
    first_seq: int
    last_seq: int
    next_seq: int | None = None
    rows: int
    head: ChainHead
    unsealed: int
    unsealed_seconds: float
    anchors_compared: int | None = None
    first_bad: BadLink | None = None
