"""From where on a figure warns, and fails. Pure."""

from datetime import datetime

from app.health.model import Finding, Status


def levelled(
    observed: float,
    levels: tuple[float, ...],
    *,
    unit: str,
    reason: str,
    time: datetime | None = None,
    related: str | None = None,
) -> Finding:
    """Warns from the first level on, fails from the second on; `reason` is told of both."""
    warn, fail = levels
    status: Status = "fail" if observed >= fail else "warn" if observed >= warn else "pass"
    return Finding(
        status=status,
        observed=observed,
        unit=unit,
        reason=None if status == "pass" else reason,
        time=time,
        related=related,
    )
