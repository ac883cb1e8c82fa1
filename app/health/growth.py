"""How fast a tenant grows, and when that reaches a limit. Pure."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from math import ceil
from typing import Final

from app.collect.model import Sample, Schema
from app.health.tenant_model import Forecast, Growth, Use

# What is looked back upon.
WINDOW: Final = timedelta(days=30)
# In less, a rate says nothing of a day.
_LEAST: Final = timedelta(hours=1)
# Samples that are told: as many as a chart has room for.
TOLD: Final = 120
_MIB: Final = 1024 * 1024
_DAY: Final = timedelta(days=1)
# Further away a day is no forecast.
_FURTHEST: Final = 3650
# Which table's rows a limit counts.
TABLES: Final[Mapping[str, str]] = {
    "max_budgets": "budgets",
    "max_budget_lines": "budget_lines",
    "max_forecasts": "forecasts",
    "max_scenarios": "scenarios",
}
STORAGE: Final = "storage_mb"


def of_samples(samples: Sequence[Sample], now: datetime) -> Growth | None:
    """`samples` are the oldest first; each holds until the next, and the last until now. None before there are two
    that are far enough apart to tell.
    """
    if not samples or now - samples[0].taken_at < _LEAST:
        return None
    first, last = samples[0], samples[-1]
    days = (now - first.taken_at) / _DAY
    tables = {
        name: (size.live_rows - (first.tables[name].live_rows if name in first.tables else 0)) / days
        for name, size in last.tables.items()
    }
    return Growth(
        samples=thinned(samples),
        bytes_per_day=(last.total_bytes - first.total_bytes) / days,
        rows_per_day=(last.live_rows - first.live_rows) / days,
        rows_by_table=tables,
    )


def thinned(samples: Sequence[Sample]) -> list[Sample]:
    """So many at most, evenly, the first and the last among them."""
    if len(samples) <= TOLD:
        return list(samples)
    step = (len(samples) - 1) / (TOLD - 1)
    return [samples[round(number * step)] for number in range(TOLD)]


def forecast(use: Use, growth: Growth | None, today: date) -> Forecast:
    per_day = None if growth is None else _rate(use.name, growth)
    return Forecast(
        use=use,
        per_day=None if per_day is None else round(per_day, 3),
        reached_on=_reached(use, per_day, today),
    )


def _rate(name: str, growth: Growth) -> float | None:
    if name == STORAGE:
        return growth.bytes_per_day / _MIB
    return growth.rows_by_table.get(TABLES[name], 0.0) if name in TABLES else None


def _reached(use: Use, per_day: float | None, today: date) -> date | None:
    if use.used >= use.allowed:
        return today
    if per_day is None or per_day <= 0:
        return None
    days = (use.allowed - use.used) / per_day
    return None if days > _FURTHEST else today + timedelta(days=ceil(days))


def storage(schema: Schema | None, allowed: int | None) -> Use | None:
    """What of the limit of disk space is used."""
    if schema is None or allowed is None:
        return None
    return Use(name=STORAGE, used=ceil(schema.total_bytes / _MIB), allowed=allowed)
