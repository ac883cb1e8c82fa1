"""Growth and forecasts, of any history."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.collect.model import Sample, TableSize
from app.health import growth
from app.health.tenant_model import Use

pytestmark = pytest.mark.any_postgres

_NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def _samples(*sizes: int, every: timedelta = timedelta(days=1)) -> list[Sample]:
    """One each `every`, the last of them now."""
    return [
        Sample(
            taken_at=_NOW - every * (len(sizes) - 1 - number),
            total_bytes=size,
            live_rows=size,
            dead_rows=0,
            tables={"budgets": TableSize(size, size)},
        )
        for number, size in enumerate(sizes)
    ]


def test_without_an_hour_of_history_nothing_is_told() -> None:
    assert growth.of_samples([], _NOW) is None
    assert growth.of_samples(_samples(1, 2, every=timedelta(minutes=59)), _NOW) is None
    assert growth.of_samples(_samples(1, 2, every=timedelta(minutes=60)), _NOW) is not None


def test_the_last_sample_holds_until_now() -> None:
    """A tenant that stopped growing has no new samples."""
    old = _samples(0, 100)
    found = growth.of_samples(old, _NOW + timedelta(days=9))
    assert found is not None
    assert found.bytes_per_day == 10


def test_a_table_that_is_new_grew_from_nothing() -> None:
    first, last = _samples(0, 10)
    found = growth.of_samples([first, last], _NOW)
    assert found is not None
    assert found.rows_by_table == {"budgets": 10}


@pytest.mark.parametrize(
    ("use", "reached"),
    [
        (Use(name="max_budgets", used=90, allowed=100), date(2026, 2, 1)),
        (Use(name="max_budgets", used=89, allowed=100), date(2026, 2, 2)),
        (Use(name="max_budgets", used=100, allowed=100), date(2026, 1, 31)),
        (Use(name="max_budgets", used=500, allowed=100), date(2026, 1, 31)),
        (Use(name="max_budgets", used=0, allowed=10**9), None),
        (Use(name="concurrent_users_limit", used=1, allowed=10), None),
        (Use(name="storage_mb", used=1, allowed=2), None),
    ],
)
def test_the_day_on_which_a_limit_is_reached(use: Use, reached: date | None) -> None:
    found = growth.forecast(use, growth.of_samples(_samples(0, 10), _NOW), _NOW.date())
    assert found.reached_on == reached


@settings(deadline=None, database=None)
@given(sizes=st.lists(st.integers(0, 10**15), min_size=2, max_size=400), allowed=st.integers(0, 10**12))
def test_no_history_is_too_odd(sizes: list[int], allowed: int) -> None:
    found = growth.of_samples(_samples(*sizes), _NOW)
    assert found is not None
    assert len(found.samples) == min(len(sizes), growth.TOLD)
    assert (found.samples[0].total_bytes, found.samples[-1].total_bytes) == (sizes[0], sizes[-1])
    use = Use(name="max_budgets", used=sizes[-1], allowed=allowed)
    told = growth.forecast(use, found, _NOW.date())
    assert told.reached_on is None or told.reached_on >= _NOW.date()
    assert (told.reached_on == _NOW.date()) == (sizes[-1] >= allowed)
