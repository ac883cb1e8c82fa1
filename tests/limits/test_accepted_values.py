"""What the API takes for a limit, the database takes, and the other way round."""

from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.limits import queries, service
from app.limits.schemas import LimitsPatch
from tests.support.api import Api

_NAMES = (
    "max_budgets", "max_budget_lines", "max_forecasts", "max_scenarios", "forecast_horizon_limit",
    "max_forecast_horizon", "concurrent_users_limit", "storage_mb", "max_budget", "sources",
)  # fmt: skip
_COLUMNS = ("max_budget_lines", "forecast_horizon_limit", "concurrent_users_limit")
_EDGES = [0, 1, 59, 60, 119, 120, 121, 10**6, 10**6 + 1, 10**9, 10**9 + 1, 2**31, 10**12, 10**15, 2**63, -1]
_SET = """
SELECT bf_control.change_limits('acme_corp', $1)
"""
_BY_HAND = "UPDATE bf_shared.tenant_config SET usage_limits = $1"

values = st.one_of(
    st.sampled_from(_EDGES), st.integers(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5).filter(lambda text: "\0" not in text), st.lists(st.integers(), max_size=2),
)  # fmt: skip


def _api_takes(catalogue: Any, name: str, value: Any) -> bool:
    try:
        body = LimitsPatch.model_validate({name: value})
    except ValidationError:
        return False
    return not service.wrong(catalogue, body.root)


@pytest.mark.usefixtures("tenant")
async def test_both_take_the_same(idle_api: Api) -> None:
    async with idle_api.database.connection() as conn:
        catalogue = await queries.catalogue(conn)
        taken: set[bool] = set()

        async def database_takes(name: str, value: Any) -> bool:
            transaction = conn.transaction()
            await transaction.start()
            try:
                await conn.execute(*((_SET, {name: value}) if name in _COLUMNS else (_BY_HAND, {name: value})))
            except asyncpg.PostgresError:
                return False
            else:
                return True
            finally:
                await transaction.rollback()

        examples: list[tuple[str, Any]] = [(name, edge) for name in _NAMES for edge in _EDGES]

        @settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(name=st.sampled_from(_NAMES), value=values)
        def collect(name: str, value: Any) -> None:
            examples.append((name, value))

        collect()
        for name, value in examples:
            by_api, by_database = _api_takes(catalogue, name, value), await database_takes(name, value)
            assert by_api == by_database, (name, value)
            taken.add(by_api)
    assert taken == {True, False}
