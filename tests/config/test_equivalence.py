"""What the document's schema accepts the database accepts, and the other way round."""

import json
import os
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.config import queries, service
from app.config.model import DEFAULTS
from app.config.schemas import ConfigIn, ConfigOut
from app.db.pool import Connection, Database
from app.registry.model import TenantId
from tests.config.support import OTHER
from tests.support.data import make_tenant

_TENANT = TenantId("acme_corp")
_OBJECTS = sorted(name for name, value in DEFAULTS.items() if isinstance(value, dict))
_runs = settings(
    max_examples=2000 if os.environ.get("BF_TEST_FULL") == "1" else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_numbers = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
_json = st.recursive(
    st.none() | st.booleans() | _numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
_words = st.sampled_from(["basic", "detailed", "", "A", "a" * 20, "a" * 21, "a_1", "1a", "é", "a\n"])
_zones = st.sampled_from(["UTC", "Europe/Berlin", "Etc/GMT+5", "utc", "Mars/Olympus", "", "UTC\n", "+02", "Z" * 51])
_codes = st.sampled_from(["USD", "EUR", "XXX", "usd", "EURO", "", "EUR\n"])
_days = st.dates().map(str) | st.sampled_from(
    ["infinity", "-infinity", "0000-01-01", "12025-01-01", "2025-02-29", "2025-1-1", "0044-03-15 BC", "now", ""]
)
_likely: dict[str, st.SearchStrategy[Any]] = {
    **{name: st.dictionaries(st.text(max_size=8), _json, max_size=3) for name in _OBJECTS},
    "cost_centers": st.lists(_json, max_size=3),
    "fiscal_year_start": _days,
    "default_currency": _codes,
    "time_zone": _zones,
    "data_retention_days": st.integers(-2, 36502) | st.sampled_from([1, 36500, 2**31, 10**30, 1.5, "7"]),
    "encryption_enabled": st.booleans() | st.sampled_from([0, 1, "true", "yes"]),
    "audit_level": _words | st.text(max_size=22),
}
assert _likely.keys() == DEFAULTS.keys()
_documents = st.fixed_dictionaries({}, optional={name: likely | _json for name, likely in _likely.items()})
_members = st.sampled_from(sorted(DEFAULTS)).flatmap(lambda name: st.tuples(st.just(name), _likely[name] | _json))


@pytest.fixture
async def configured(conn: asyncpg.Connection, database: Database) -> Database:
    await make_tenant(conn)
    return database


def _same(a: Any, b: Any) -> bool:
    """As JSON: a float is the decimal that it is written as."""
    return _exact(a) == _exact(b)


def _exact(value: Any) -> Any:
    return json.loads(json.dumps(value, sort_keys=True), parse_float=Decimal, parse_int=Decimal)


async def _accepted_by_the_api(conn: Connection, document: dict[str, Any]) -> dict[str, Any] | None:
    """The columns and values that are stored; None where it is 422."""
    try:
        values = ConfigIn.model_validate(document).values()
    except ValidationError:
        return None
    return None if await service.wrong_values(conn, values) else values


@_runs
@given(_documents)
@example(OTHER)
@example({"budget_features": json.loads('{"a":' * 255 + "{}" + "}" * 255)})
@example({"budget_features": json.loads('{"a":' * 256 + "1" + "}" * 256)})
@example({"cost_centers": json.loads("[" * 255 + "[]" + "]" * 255)})
@example({"cost_centers": json.loads("[" * 256 + "1" + "]" * 256)})
@example({"external_systems": {"erp": {"token": "x"}}})
@example({"budget_features": {"limit": 1.7976931348623157e308, "least": 5e-324, "many": 10**400}})
async def test_what_the_schema_accepts_the_database_stores_and_gives_back(
    configured: Database, document: dict[str, Any]
) -> None:
    async with configured.transaction(keep=False) as conn:
        values = await _accepted_by_the_api(conn, document)
        if values is None:
            return
        await queries.change(conn, _TENANT, replaced={**DEFAULTS, **values}, merged={}, actor="tests")
        after = await service.require(conn, _TENANT)
        assert _same(after.configuration, {**DEFAULTS, **values})
        read = json.loads(ConfigOut.of(after).model_dump_json())
        assert _same(ConfigIn.model_validate(read).values(), read), "what was read can be put back"


@_runs
@given(_members)
@example(("fiscal_year_start", "0001-01-01"))
@example(("fiscal_year_start", "9999-12-31"))
@example(("fiscal_year_start", "infinity"))
@example(("time_zone", "posix/UTC"))
@example(("budget_features", json.loads('{"a":' * 256 + "1" + "}" * 256)))
async def test_what_sql_can_store_the_schema_accepts(configured: Database, member: tuple[str, Any]) -> None:
    name, value = member
    async with configured.transaction(keep=False) as conn:
        if not await _stored_by_sql(conn, name, value):
            return
        read = json.loads(ConfigOut.of(await service.require(conn, _TENANT)).model_dump_json())
        accepted = await _accepted_by_the_api(conn, read)
        assert accepted is not None, f"{name} = {value!r}"
        assert _same(accepted, read)


async def _stored_by_sql(conn: Connection, name: str, value: Any) -> bool:
    """By the plainest of statements; the value as text, which PostgreSQL reads as the column's type."""
    text = json.dumps(value) if isinstance(DEFAULTS[name], dict | list) else str(value)
    statement = f"UPDATE bf_shared.tenant_config SET {name} = $1::text::{_type(name)}"  # noqa: S608
    try:
        async with conn.transaction():
            await conn.execute(statement, text)
    except (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError):
        return False
    return True


def _type(name: str) -> str:
    match DEFAULTS[name]:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case dict() | list():
            return "jsonb"
    return "date" if name == "fiscal_year_start" else "text"


@pytest.mark.parametrize("name", sorted(DEFAULTS))
async def test_one_member_alone_is_judged_alike_on_both_sides(configured: Database, name: str) -> None:
    """For values that mean the same on both sides: what either refuses, the other does too."""
    refused = {
        "fiscal_year_start": ["0000-01-01", "10000-01-01", "infinity", "2025-02-29", "x"],
        "default_currency": ["XXX", "usd", "EURO", ""],
        "time_zone": ["Mars/Olympus", "utc ", "", "Z" * 51],
        "data_retention_days": [0, 36501, -1, 2**31],
        "audit_level": ["", "A", "a" * 21, "1a", "a-b"],
        "encryption_enabled": ["maybe"],
        "cost_centers": [{}, 1, "x"],
    }.get(name, [[], 1, "x", True])
    async with configured.transaction(keep=False) as conn:
        for value in refused:
            assert await _accepted_by_the_api(conn, {name: value}) is None, value
            assert not await _stored_by_sql(conn, name, value), value
        assert await _accepted_by_the_api(conn, {name: OTHER[name]}) is not None
        assert await _stored_by_sql(conn, name, OTHER[name])
