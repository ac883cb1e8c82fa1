"""What is to be destroyed, and what confirms it. Pure."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """What a caller is about to have done: `action` to `target`.

    A confirmation holds while all of `bound` is as it was: generations, counts, the database. `document` is what the
    caller is told would be lost.
    """

    action: str
    target: str
    bound: list[Any]
    document: dict[str, Any]

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(json.dumps([self.action, self.target, self.bound]).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A plan as it is handed out. `token` is shown this once: the database keeps a hash."""

    id: UUID
    token: str
    expires_at: datetime
    needs_approval: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """As it is stored; `actor` made it."""

    id: UUID
    action: str
    target: str
    actor: str
    document: dict[str, Any]
    needs_approval: bool
    approved_by: str | None
    approved_at: datetime | None
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """A plan that was used up, as the audit trail names it."""

    id: UUID
    approved_by: str | None

    def as_json(self) -> dict[str, Any]:
        return {"plan": str(self.id)} | ({} if self.approved_by is None else {"approved_by": self.approved_by})
