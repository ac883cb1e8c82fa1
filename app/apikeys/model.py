"""API keys and roles. Pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"
    AUDITOR = "auditor"
    READER = "reader"
    METRICS = "metrics"

    def includes(self, other: "Role") -> bool:
        """admin includes operator includes viewer; the others stand alone."""
        return other is self or other in _INCLUDED.get(self, ())


_INCLUDED: Final = {
    Role.ADMIN: frozenset({Role.OPERATOR, Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.VIEWER}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """`secret_hash` is what a secret is compared with; the key itself is kept nowhere."""

    id: str
    name: str
    role: Role
    tenant_id: str | None
    secret_hash: bytes
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    usable: bool
