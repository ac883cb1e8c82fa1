"""What the schemas accept the database stores, and reads back as valid; and what the database stores they accept."""

import json
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.integrations import service
from app.integrations.endpoint import Policy
from app.integrations.model import Capability, Integration
from app.integrations.schemas import SCHEMAS, IntegrationOut
from tests.integrations.support import AS_BEFORE

pytestmark = pytest.mark.usefixtures("tenant")
_SET = "UPDATE bf_shared.tenant_config SET apg_integrations = jsonb_build_object($1::text, $2::jsonb)"
_READ = "SELECT apg_integrations -> $1 FROM bf_shared.tenant_config"

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=6,
)
_URL = r"https://(auth|a-b)\.example\.com(:[1-9][0-9]{0,3})?(/[a-z:@=%]{0,9})?(\?[a-z:@=&]{0,12})?"
_endpoints = st.from_regex(_URL, fullmatch=True)
_members = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans(),
        "endpoint": st.none() | _endpoints | st.text(max_size=30),
        "realm": st.none() | st.text(max_size=40),
        "level": st.none() | st.from_regex(r"[a-z][a-z0-9_]{0,19}", fullmatch=True) | st.text(max_size=21),
        "models": st.none() | st.lists(st.sampled_from(["forecasting", "a:b", "x/y", "", "é"]), max_size=4),
    },
)
_bounded = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _fields(capability: str, document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name in SCHEMAS[capability].model_fields}


@_bounded
@given(st.sampled_from(Capability), _members)
@example(Capability.AUTH_RBAC, {"endpoint": "https://auth.example.com?a:b@c", "realm": "x://y:z@w"})
@example(Capability.AUTH_RBAC, {"endpoint": "https://auth.example.com?api_key=x"})
@example(Capability.AUTH_RBAC, {"realm": "\x7f"})
async def test_what_a_schema_accepts_the_database_stores_as_it_is(
    conn: asyncpg.Connection, capability: Capability, document: dict[str, Any]
) -> None:
    document = _fields(capability, document)
    try:
        accepted = SCHEMAS[capability].model_validate(document).settings()
    except ValidationError:
        return
    transaction = conn.transaction()
    await transaction.start()
    try:
        await conn.execute(_SET, capability, json.dumps(accepted))
        stored = json.loads(await conn.fetchval(_READ, capability))
    finally:
        await transaction.rollback()
    assert stored == accepted == document
    shown = IntegrationOut.of(Integration(capability=capability, stored=stored), Policy())
    assert shown.valid == (not service.endpoint_errors(accepted, Policy()))
    assert json.loads(shown.model_dump_json()) | document == json.loads(shown.model_dump_json())


# Hosts, ports and paths at the edges of what is a URL, all of them in the grammar's own characters and some beside.
_near = st.from_regex(
    r"[Hh]ttps?://(\[[0-9a-f:.]{2,12}\]|([a-z0-9_-]{1,4}\.){0,3}(com|[0-9]{1,3}|0x[0-9a-f]{0,2}|k\u212a|))"
    r"(:[0-9]{1,6})?(/[a-z:@%._ -]{0,6})?"
    r"(\?(token|t%6fken|key|x|to|ken|\u017fecret|[a-z%&=]){0,3}(=[a-z:@/]{0,3})?)?(#a)?",
    fullmatch=True,
)
_odd_members = st.fixed_dictionaries(
    {},
    optional={
        "enabled": st.booleans() | st.none() | st.integers(0, 1),
        "endpoint": _near | _json,
        "realm": st.text(max_size=4) | st.sampled_from(["x" * 255, "x" * 256, "😀" * 255, "a://b:c@d", "\x85"]) | _json,
        "level": st.from_regex(r"[a-z][a-z0-9_]{18,21}\n?") | _json,
        "models": st.lists(
            st.sampled_from(["forecasting", "a:b", "x/y", "", "é", "-", "a" * 128, "a" * 129, 1]), max_size=3
        )
        | st.just([str(n) for n in range(101)])
        | _json,
        "region": st.just("eu"),
    },
)


@_bounded
@given(st.sampled_from([*Capability, "teleport", ""]), _json | _odd_members)
@example("auth_rbac", {"endpoint": "https://[::1"})
@example("auth_rbac", {"endpoint": "https://[::ffff:10.0.0.1]:65535/?a=b"})
@example("auth_rbac", {"endpoint": "https://[1::2::3]"})
@example("auth_rbac", {"endpoint": "https://01.2.3.4"})
@example("auth_rbac", {"endpoint": "https://1.2.3.4."})
@example("auth_rbac", {"endpoint": "https://a.example:0"})
@example("auth_rbac", {"endpoint": "https://a.example:65536"})
@example("auth_rbac", {"endpoint": "https://a.example?x&t%6Fken=1"})
@example("auth_rbac", {"endpoint": "https://a.example?token%0A=1"})
@example("auth_rbac", {"endpoint": "https://a.example?%C5%BFecret=1"})
@example("auth_rbac", {"endpoint": "https://\u212a.example"})
@example("auth_rbac", {"endpoint": "https://" + "a" * 63 + ".example"})
@example("auth_rbac", {"endpoint": "https://" + "a" * 64 + ".example"})
@example("auth_rbac", {"endpoint": "https://a.example/" + "a" * 2031})
@example("auth_rbac", {"endpoint": "https://a.example/\n"})
@example("auth_rbac", {"enabled": 1})
@example("auth_rbac", {"credentials": {"client_id": "me"}})
@example("auth_rbac", {"": 10**400, "enabled": None})
async def test_the_database_stores_what_a_schema_accepts_and_nothing_else(
    conn: asyncpg.Connection, capability: str, document: Any
) -> None:
    assert await _storing(conn, capability, document) == _accepting(capability, document)


def _accepting(capability: str, document: Any) -> bool:
    """Whether PUT takes it for its form, as far as it is stored in sight: no credential ever is."""
    if capability not in SCHEMAS or (isinstance(document, dict) and "credentials" in document):
        return False
    try:
        SCHEMAS[capability].model_validate(document)
    except ValidationError:
        return False
    return True


async def _storing(conn: asyncpg.Connection, capability: str, document: Any) -> bool:
    transaction = conn.transaction()
    await transaction.start()
    try:
        await conn.execute(_SET, capability, json.dumps(document))
    except (asyncpg.CheckViolationError, asyncpg.DataError, asyncpg.UntranslatableCharacterError, UnicodeEncodeError):
        return False
    finally:
        await transaction.rollback()
    return True


@_bounded
@given(st.sampled_from([*Capability, "teleport", ""]), _json | _members)
@example("auth_rbac", {"enabled": 1, "credentials": {"toke": "x"}})
@example("auth_rbac", {"": 10**400, "enabled": None})
async def test_whatever_sql_stored_before_that_was_checked_is_shown_as_it_is(
    conn: asyncpg.Connection, capability: str, document: Any
) -> None:
    transaction = conn.transaction()
    await transaction.start()
    try:
        await conn.execute(AS_BEFORE)
        await conn.execute(_SET, capability, json.dumps(document))
        stored = json.loads(await conn.fetchval(_READ, capability))
    except (asyncpg.CheckViolationError, asyncpg.DataError, asyncpg.UntranslatableCharacterError, UnicodeEncodeError):
        return
    finally:
        await transaction.rollback()
    shown = IntegrationOut.of(Integration(capability=capability, stored=stored), Policy())
    assert shown.valid == (not shown.errors)
    assert shown.stored == (None if shown.valid else stored)
    json.loads(shown.model_dump_json())
