"""What a check finds."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    PASS = "pass"  # noqa: S105 -- no password
    WARN = "warn"
    FAIL = "fail"
    NOT_CHECKED = "not_checked"


class Look(str):
    """A line that changes nothing, and shows whoever runs it where the fault is."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """`mend` holds SQL, for a superuser in the same database, or lines for a shell; nothing where all is well.

    Where nobody can say what mends it, lines that Look show what to mend.
    """

    status: Status
    observed: str
    reason: str = ""
    mend: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Findings by the name of their check, in the order in which they were made."""

    checks: Mapping[str, Finding]

    @property
    def status(self) -> Status:
        """The worst there is; what could not be checked is for whoever reads it to worry about."""
        found = {finding.status for finding in self.checks.values()}
        return next((status for status in (Status.FAIL, Status.WARN) if status in found), Status.PASS)


def passed(observed: str, reason: str = "") -> Finding:
    return Finding(status=Status.PASS, observed=observed, reason=reason)


def warned(observed: str, reason: str, *mend: str) -> Finding:
    return Finding(status=Status.WARN, observed=observed, reason=reason, mend=mend)


def failed(observed: str, reason: str, *mend: str) -> Finding:
    return Finding(status=Status.FAIL, observed=observed, reason=reason, mend=mend)


def not_checked(reason: str) -> Finding:
    return Finding(status=Status.NOT_CHECKED, observed="", reason=reason)
