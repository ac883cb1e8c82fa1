"""What a tenant is integrated with. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Capability(StrEnum):
    AUTH_RBAC = "auth_rbac"
    AUDIT_COMPLIANCE = "audit_compliance"
    AI_ORCHESTRATION = "ai_orchestration"
    DOCUMENT_MANAGEMENT = "document_management"
    NOTIFICATION_ENGINE = "notification_engine"


@dataclass(frozen=True, slots=True, kw_only=True)
class SetCredential:
    """What may be told of a credential that is set."""

    name: str
    set_at: datetime
    set_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Integration:
    """`stored` is the capability's member of tenant_config.apg_integrations: SQL may have made it anything, and may
    have named a `capability` that there is not.
    """

    capability: str
    stored: Any
    credentials: tuple[SetCredential, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`settings` replace what is stored. Of `credentials` those that are named are set, or, where None, removed."""

    settings: dict[str, Any]
    credentials: Mapping[str, str | None] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a check failed: `code` is stable."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Of a check. `status` is what HTTP answered; None where nothing did."""

    status: int | None
    latency_ms: float
    checked_at: datetime
    fault: Fault | None

    @property
    def ok(self) -> bool:
        return self.fault is None
