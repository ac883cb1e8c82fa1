"""What may be wrong with isolation. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Kind(StrEnum):
    """What a fault is about."""

    ROLE = "role"
    TABLE = "table"
    POLICY = "policy"
    GRANT = "grant"
    TENANT_ROLE = "tenant_role"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`mend` is SQL for the owner or a superuser. `tenant_id` is None for what concerns all tenants."""

    kind: Kind
    tenant_id: str | None
    reason: str
    mend: str

    @property
    def opens(self) -> bool:
        """Whether somebody reaches what is not theirs: a role that is missing or left over lets nobody in."""
        return self.kind is not Kind.TENANT_ROLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`faults` are the first of `fault_count`; `checked_at` is None until the first check has ended."""

    checked_at: datetime | None
    duration_ms: int
    tenants: int
    fault_count: int
    faults: Sequence[Fault]

    @property
    def safe(self) -> bool:
        """Those that open something come first, so that the first faults tell."""
        return not any(fault.opens for fault in self.faults)


def ordered(faults: Sequence[Fault]) -> list[Fault]:
    """The worst first."""
    return sorted(faults, key=lambda fault: (not fault.opens, fault.tenant_id or "", fault.reason))
