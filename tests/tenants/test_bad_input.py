"""Whatever is sent: a problem in the 4xx, and nothing in the database."""

import json
import os
import random
import string
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from tests.support.api import Api
from tests.support.data import schemas
from tests.support.problems import problem

_SEED = int(os.environ.get("BF_TEST_SEED", "20250101"))
_FULL = os.environ.get("BF_TEST_FULL") == "1"
_COUNT = 10_000 if _FULL else 300

_HOSTILE_IDS: list[Any] = [
    # length
    "", "a", "a" * 37, "a" * 63, "a" * 64, "a" * 10_000,
    # reserved, and what begins like something reserved
    "shared", "control", "queue", "public", "information_schema", "pg_catalog", "pg_toast", "pg_", "pool_", "pool_1",
    # case pairs of a good one
    "Acme", "ACME", "aCme", "acmE", "acme_Corp",
    # characters
    "1acme", "_acme", "acme-corp", "acme corp", " acme", "acme ", "acme\n", "\nacme", "acme.corp", "acme/corp",
    "../acme", "%61cme", "acme%00", "acme\0", "\0", "acme\x7f", "acme\t", "acme\r\n",
    # quoting
    "acme'", 'acme"', "acme`", "acme\\", "acme;", "acme--", "acme/*", "acme$$", "$1", "{{schema}}", "%I", "%s",
    "acme'; DROP SCHEMA bf_shared CASCADE; --", 'acme"; DROP SCHEMA bf_shared CASCADE; --', "{{tenant_id}}",
    # unicode: look-alikes, combining marks, digits that are no ASCII, direction marks, emoji, what lower-cases to ASCII
    "асме", "acmé", "acme\u0301", "ａｃｍｅ", "acme٣", "acme\u200b", "acme\u202e", "acme😀", "ﬁrm", "K\u212a", "ſhared",
    "İstanbul", "a\u00df", "日本", "acme\ufeff", "acme\u2028",
    # other types
    None, 0, 1, 1.5, True, [], {}, ["acme"], {"id": "acme"},
]  # fmt: skip
_HOSTILE_NAMES: list[Any] = [
    "", " ", "\t", "\n", "a\nb", "a\x00b", "\x00", "a\x1fb", "a\x7fb", "x" * 256, "é" * 256, "😀" * 256, "x" * 100_000,
    "\u00a0", "\u2003\u2003", None, 0, True, [], {}, ["ACME"],
]  # fmt: skip
# Odd, and allowed: they are names of people's firms, and must survive the way through SQL.
_ODD_NAMES = [
    "O'Reilly & Söhne", 'The "Best" Co.', "Robert'); DROP TABLE bf_control.tenant;--", "日本株式会社", "😀", "a\\b",
    "%s %I {{schema}} $1 $$", "é" * 255, "e\u0301" * 100, "\u202eABC", "{}", "null", "-- x", "/* x", "العربية",
]  # fmt: skip
_ALPHABET = string.ascii_letters + string.digits + "_-'\"\\;.%$ \t\n\0/*{}()éßЖ日😀\u0301\u200b\ufeffıİſ\u212a"


def _random_ids(generator: random.Random, count: int) -> list[str]:
    """Ids that no rule allows: each has at least one character outside a-z, 0-9 and _, or is too long."""
    made: list[str] = []
    allowed = set(string.ascii_lowercase + string.digits + "_")
    while len(made) < count:
        drawn = "".join(generator.choices(_ALPHABET, k=generator.randint(1, 40)))
        if len(drawn) > 36 or set(drawn) - allowed or drawn[0] not in string.ascii_lowercase:
            made.append(drawn)
    return made


@pytest.fixture
async def nothing_created(conn: asyncpg.Connection) -> AsyncIterator[None]:
    """After the test the database is as it was."""
    before = await schemas(conn)
    yield
    assert await schemas(conn) == before
    for table in ("tenant", "operation", "idempotency_key", "audit"):
        assert await conn.fetchval(f"SELECT count(*) FROM bf_control.{table}") == 0, table  # noqa: S608
    assert await conn.fetchval("SELECT count(*) FROM bf_queue.pgqueuer") == 0


async def _post(api: Api, body: Any) -> httpx.Response:
    return await api.client.post(
        "/v1/tenants", content=json.dumps(body).encode(), headers={"Content-Type": "application/json"}
    )


@pytest.mark.usefixtures("nothing_created")
async def test_hostile_ids_are_422_and_create_nothing(idle_api: Api) -> None:
    print(f"seed {_SEED}: set BF_TEST_SEED to replay another")  # noqa: T201
    generator = random.Random(_SEED)  # noqa: S311 -- a test's
    for hostile in [*_HOSTILE_IDS, *_random_ids(generator, _COUNT)]:
        response = await _post(idle_api, {"tenant_id": hostile, "tenant_name": "ACME"})
        body = problem(response, 422, "validation_failed")
        assert {e["pointer"] for e in body["errors"]} == {"/tenant_id"}, (hostile, body)


async def test_hostile_ids_in_a_path_are_404(idle_api: Api) -> None:
    for hostile in _HOSTILE_IDS:
        if not isinstance(hostile, str) or not hostile or hostile.startswith(".."):
            continue
        raw = "/v1/tenants/" + "".join(f"%{byte:02X}" for byte in hostile.encode())
        response = await idle_api.client.get(httpx.URL("http://test").copy_with(raw_path=raw.encode()))
        assert response.status_code == 404, (hostile, response.text)
        assert response.headers["content-type"] == "application/problem+json"


def _of_path(hostile: str, rest: str = "") -> httpx.URL:
    raw = "/v1/tenants/" + "".join(f"%{byte:02X}" for byte in hostile.encode()) + rest
    return httpx.URL("http://test").copy_with(raw_path=raw.encode())


@pytest.mark.usefixtures("nothing_created")
async def test_hostile_ids_are_refused_by_every_way_in(idle_api: Api, conn: asyncpg.Connection) -> None:
    """In the path of PUT, PATCH, POST and DELETE, in query parameters, and in headers: no 5xx, and nothing made."""
    print(f"seed {_SEED}: set BF_TEST_SEED to replay another")  # noqa: T201
    generator = random.Random(_SEED + 1)  # noqa: S311 -- a test's
    known = [hostile for hostile in _HOSTILE_IDS if isinstance(hostile, str) and hostile]
    client = idle_api.client
    plans = await conn.fetchval("SELECT count(*) FROM bf_control.plan")
    for number, hostile in enumerate([*known, *_random_ids(generator, _COUNT // 5)]):
        if len(hostile) > 1000:
            continue
        calls: list[tuple[str, httpx.URL | str, dict[str, Any]]] = [
            ("PUT", _of_path(hostile), {"json": {"tenant_name": "A"}}),
            ("PATCH", _of_path(hostile), {"json": {"tenant_name": hostile}}),
            ("PATCH", _of_path(hostile, "/config"), {"json": {"time_zone": hostile}}),
            ("PUT", _of_path(hostile, "/integrations/auth_rbac"), {"json": {"endpoint": hostile}}),
            ("PUT", f"/v1/tenants/ab/features/{'x' * (1 + number % 70)}", {"json": {"enabled": hostile}}),
            ("POST", _of_path(hostile, "/purge"), {"json": {"confirmation": hostile[:200]}}),
            ("DELETE", _of_path(hostile), {"params": {"reason": hostile}}),
            *(("GET", "/v1/tenants", {"params": {name: hostile}}) for name in ("q", "tier", "feature", "page_token")),
            ("DELETE", "/v1/tenants", {"params": {"q": hostile, "confirmation": hostile[:200] or "x"}}),
            ("PATCH", "/v1/tenants", {"params": {"tier": hostile}, "json": {"subscription_tier": hostile}}),
            ("GET", "/v1/operations", {"params": {"tenant_id": hostile, "kind": hostile}}),
            ("POST", "/v1/plans/x/approve", {"headers": _header("idempotency-key", hostile)}),
            ("GET", "/v1/tenants", {"headers": _header("prefer", hostile)}),
            ("GET", "/v1/schema", {"headers": _header("if-none-match", hostile)}),
            ("PATCH", "/v1/tenants/ab", {"json": {}, "headers": _header("if-match", hostile)}),
        ]
        # Each of them for every id at the full count; in turn otherwise.
        for method, path, more in calls if _FULL else calls[number % 3 :: 3]:
            response = await client.request(method, path, **more)
            assert response.status_code < 500, (hostile, method, path, response.text)
            if response.status_code >= 400:
                assert response.headers["content-type"] == "application/problem+json", (hostile, method, path)
            else:
                assert method == "GET", (hostile, method, path, response.text)
    assert await conn.fetchval("SELECT count(*) FROM bf_control.plan") == plans


def _header(name: str, value: str) -> list[tuple[bytes, bytes]]:
    """As bytes, which no client library would refuse; a line's end can be in no header."""
    raw = value.encode().translate(None, b"\r\n\0").strip()
    return [(name.encode(), raw)]


@pytest.mark.usefixtures("nothing_created")
async def test_hostile_names_are_422_and_create_nothing(idle_api: Api) -> None:
    for hostile in _HOSTILE_NAMES:
        for member in ("tenant_name", "created_by"):
            body = {"tenant_id": "acme", "tenant_name": "ACME", member: hostile}
            if member == "created_by" and hostile is None:
                continue
            errors = problem(await _post(idle_api, body), 422, "validation_failed")["errors"]
            assert {e["pointer"] for e in errors} == {f"/{member}"}, (hostile, errors)


@pytest.mark.usefixtures("nothing_created")
async def test_half_a_surrogate_pair_is_no_text(idle_api: Api, subtests: pytest.Subtests) -> None:
    """JSON can write what UTF-8 cannot hold."""
    for where in ("tenant_id", "tenant_name", "created_by", "value", "key", "deep", "list", "unknown"):
        with subtests.test(where):
            lone = "x\\ud800y"
            documents = {
                "value": f'"config": {{"budget_features": {{"a": "{lone}"}}}}',
                "key": f'"config": {{"budget_features": {{"{lone}": 1}}}}',
                "deep": f'"config": {{"budget_features": {{"a": [{{"b": "{lone}"}}]}}}}',
                "unknown": f'"{lone}": 1',
                "list": f'"config": {{"cost_centers": ["{lone}"]}}',
                "tenant_id": f'"tenant_id": "{lone}"',
                "tenant_name": f'"tenant_name": "{lone}"',
                "created_by": f'"created_by": "{lone}"',
            }
            raw = '{"tenant_id": "acme", "tenant_name": "ACME", ' + documents[where] + "}"
            response = await idle_api.client.post(
                "/v1/tenants", content=raw.encode(), headers={"Content-Type": "application/json"}
            )
            assert response.status_code in {400, 422}, response.text
            problem(response, response.status_code)


@pytest.mark.usefixtures("nothing_created")
async def test_numbers_that_are_none_are_refused(idle_api: Api, subtests: pytest.Subtests) -> None:
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "-1e999", "1" * 5000):
        with subtests.test(number[:9]):
            raw = (
                f'{{"tenant_id": "acme", "tenant_name": "ACME", "config": {{"budget_features": {{"a": [{number}]}}}}}}'
            )
            response = await idle_api.client.post(
                "/v1/tenants", content=raw.encode(), headers={"Content-Type": "application/json"}
            )
            assert response.status_code in {400, 422}, response.text
            problem(response, response.status_code)


@pytest.mark.usefixtures("nothing_created")
async def test_a_document_nested_without_end_is_refused(idle_api: Api, subtests: pytest.Subtests) -> None:
    for depth in (300, 2_000, 100_000):
        lists = "[" * depth + "]" * depth
        for name, raw in {
            "list": lists,
            "object": '{"a":' * depth + "1" + "}" * depth,
            "member": f'{{"tenant_id": "acme", "tenant_name": "A", "config": {{"cost_centers": {lists}}}}}',
        }.items():
            with subtests.test(name, depth=depth):
                response = await idle_api.client.post(
                    "/v1/tenants", content=raw.encode(), headers={"Content-Type": "application/json"}
                )
                assert response.status_code in {400, 422}, response.text
                problem(response, response.status_code)


_GOOD = {"tenant_id": "acme", "tenant_name": "ACME"}


_WRONG: list[tuple[dict[str, Any], str]] = [
    ({**_GOOD, "id": 1}, "/id"),
    ({**_GOOD, "Tenant_id": "x"}, "/Tenant_id"),
    ({**_GOOD, "state": "active"}, "/state"),
    ({**_GOOD, "a/b~c": 1}, "/a~1b~0c"),
    ({"tenant_id": "acme"}, "/tenant_name"),
    ({"tenant_name": "ACME"}, "/tenant_id"),
    ({**_GOOD, "subscription_tier": "Gold!"}, "/subscription_tier"),
    ({**_GOOD, "subscription_tier": "t" * 21}, "/subscription_tier"),
    ({**_GOOD, "subscription_tier": None}, "/subscription_tier"),
    ({**_GOOD, "features_enabled": "x"}, "/features_enabled"),
    ({**_GOOD, "features_enabled": ["ok", "Not OK"]}, "/features_enabled/1"),
    ({**_GOOD, "features_enabled": ["x1"] * 201}, "/features_enabled"),
    ({**_GOOD, "limits": {"max_budget_lines": -1}}, "/limits/max_budget_lines"),
    ({**_GOOD, "limits": {"max_budget_lines": 10**30}}, "/limits/max_budget_lines"),
    ({**_GOOD, "limits": {"max_budget_lines": "many"}}, "/limits/max_budget_lines"),
    ({**_GOOD, "limits": {"max_budget_lines": 1.5}}, "/limits/max_budget_lines"),
    ({**_GOOD, "limits": {"forecast_horizon_limit": 0}}, "/limits/forecast_horizon_limit"),
    ({**_GOOD, "limits": {"nothing": 1}}, "/limits/nothing"),
    ({**_GOOD, "config": {"default_currency": "eur"}}, "/config/default_currency"),
    ({**_GOOD, "config": {"default_currency": "XXX"}}, "/config/default_currency"),
    ({**_GOOD, "config": {"time_zone": "Mars/Olympus"}}, "/config/time_zone"),
    ({**_GOOD, "config": {"time_zone": "UTC; --"}}, "/config/time_zone"),
    ({**_GOOD, "config": {"fiscal_year_start": "2025-13-01"}}, "/config/fiscal_year_start"),
    ({**_GOOD, "config": {"data_retention_days": 0}}, "/config/data_retention_days"),
    ({**_GOOD, "config": {"budget_features": []}}, "/config/budget_features"),
    ({**_GOOD, "config": {"budget_features": {"a": "\0"}}}, "/config/budget_features/a"),
    ({**_GOOD, "config": {"tenant_name": "x"}}, "/config/tenant_name"),
    ({**_GOOD, "config": {"external_systems": {"sap": {"password": "x"}}}}, "/config/external_systems"),
    ({**_GOOD, "integrations": {"auth_rbac": {"api_key": "x"}}}, "/integrations/auth_rbac/api_key"),
    ({**_GOOD, "integrations": {"teleport": {}}}, "/integrations/teleport"),
]


@pytest.mark.usefixtures("nothing_created")
async def test_a_wrong_member_is_422_and_named(idle_api: Api, subtests: pytest.Subtests) -> None:
    for body, pointer in _WRONG:
        with subtests.test(pointer):
            errors = problem(await _post(idle_api, body), 422, "validation_failed")["errors"]
            assert pointer in {e["pointer"] for e in errors}, errors


@pytest.mark.usefixtures("nothing_created")
async def test_what_is_told_of_a_fault_is_for_people(idle_api: Api, subtests: pytest.Subtests) -> None:
    word = "must have {} to {} of a-z, 0-9 and _, a letter first"
    for body, detail in (
        ({**_GOOD, "tenant_id": "a"}, word.format(2, 36)),
        ({**_GOOD, "tenant_id": "a" * 37}, word.format(2, 36)),
        ({**_GOOD, "tenant_id": "A-B"}, word.format(2, 36)),
        ({**_GOOD, "tenant_id": "pg_x"}, "is reserved"),
        ({**_GOOD, "subscription_tier": "Gold!"}, word.format(1, 20)),
        ({**_GOOD, "features_enabled": ["1x"]}, word.format(1, 63)),
        ({**_GOOD, "config": {"default_currency": "usd"}}, "is not written as it must be"),
        ({**_GOOD, "state": "active"}, "is not allowed here"),
    ):
        with subtests.test(str(body)[:60]):
            errors = problem(await _post(idle_api, body), 422, "validation_failed")["errors"]
            assert [error["detail"] for error in errors] == [detail]


@pytest.mark.usefixtures("nothing_created")
async def test_a_body_that_is_no_object_is_422(idle_api: Api, subtests: pytest.Subtests) -> None:
    for raw in (b"", b"null", b"[]", b'"acme"', b"1", b"true"):
        with subtests.test(raw.decode()):
            response = await idle_api.client.post(
                "/v1/tenants", content=raw, headers={"Content-Type": "application/json"}
            )
            assert {e["pointer"] for e in problem(response, 422, "validation_failed")["errors"]} == {""}


@pytest.mark.usefixtures("nothing_created")
async def test_malformed_json_is_told_where(idle_api: Api) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await idle_api.client.post("/v1/tenants", content=b'{"a" 1}', headers=headers)
    told = problem(answer, 400, "malformed_json")
    assert told["detail"] == "The body is not valid JSON, at character 6: Expecting ':' delimiter."
    assert "errors" not in told


@pytest.mark.usefixtures("nothing_created")
async def test_malformed_json_is_400(idle_api: Api, subtests: pytest.Subtests) -> None:
    for raw in (b"{", b"{'tenant_id': 'acme'}", b"acme", b'{"tenant_id": "\xff\xfe"}', b"{}{}"):
        with subtests.test(repr(raw)):
            response = await idle_api.client.post(
                "/v1/tenants", content=raw, headers={"Content-Type": "application/json"}
            )
            problem(response, 400)


async def test_odd_names_are_kept_as_they_are(api: Api, conn: asyncpg.Connection) -> None:
    for number, name in enumerate(_ODD_NAMES):
        response = await api.client.post("/v1/tenants", json={"tenant_id": f"odd_{number}", "tenant_name": name})
        assert response.status_code == 202, (name, response.text)
    for number, name in enumerate(_ODD_NAMES):
        assert (await api.client.get(f"/v1/tenants/odd_{number}")).json()["tenant_name"] == name
        stored = await conn.fetchval("SELECT tenant_name FROM bf_control.tenant WHERE tenant_id = $1", f"odd_{number}")
        assert stored == name


async def test_ids_at_the_edge_of_what_is_allowed_work(
    api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    for tenant_id in ("ab", "a" * 36, "a_" * 18, "select", "pgx", "poolx", "shared_x", "user", "a1234567890"):
        with subtests.test(tenant_id):
            response = await api.provision(tenant_id)
            assert response.status_code == 201, response.text
            assert f"bf_{tenant_id}" in await schemas(conn)
