"""GET, PUT and DELETE /v1/tenants/{id}/integrations/{capability}: what may be seen of an integration."""

import asyncio
import json
from typing import Any

import asyncpg
import pytest

from tests.integrations.support import AS_BEFORE, AS_NOW, DOCUMENTS, ENDPOINT, GUIDE, PATH, get, put
from tests.support import tables
from tests.support.api import Api
from tests.support.data import make_tenant, suspend
from tests.support.problems import problem

pytestmark = pytest.mark.usefixtures("tenant")

_STORED = "SELECT apg_integrations FROM bf_shared.tenant_config"
_HISTORY = "SELECT source, user_context, documents FROM bf_control.tenant_config_history ORDER BY id DESC LIMIT 1"
_AUDIT = (
    "SELECT actor, action, target, outcome, request_id, before, after FROM bf_control.audit ORDER BY id DESC LIMIT 1"
)
_FORBIDDING = """
INSERT INTO bf_control.tenant (tenant_id, tenant_name, schema_name, state, schema_version, created_by)
SELECT concat('t_', state), 'T', concat('bf_t_', state), state, version, 'tests'
  FROM (VALUES ('provisioning', NULL), ('failed', NULL), ('deleted', 1), ('purging', 1)) AS s(state, version)
"""


async def _stored(conn: asyncpg.Connection) -> Any:
    return json.loads(await conn.fetchval(_STORED))


async def test_each_capability_is_put_read_listed_and_deleted(idle_api: Api, conn: asyncpg.Connection) -> None:
    for capability, body in DOCUMENTS.items():
        made = await put(idle_api, capability, body)
        assert made.status_code == 201, made.text
        assert made.headers["location"] == f"{PATH}/{capability}"
        read = await idle_api.client.get(f"{PATH}/{capability}")
        assert (read.json(), read.headers["etag"]) == (made.json(), made.headers["etag"])
        assert read.json() | body == read.json()
        assert (read.json()["valid"], read.json()["errors"], read.json()["stored"]) == (True, [], None)
    assert await _stored(conn) == DOCUMENTS
    listed = (await idle_api.client.get(PATH)).json()["items"]
    assert listed == [await get(idle_api, capability) for capability in sorted(DOCUMENTS)]
    for capability in DOCUMENTS:
        gone = await idle_api.client.delete(f"{PATH}/{capability}")
        assert (gone.status_code, gone.content) == (204, b"")
        problem(await idle_api.client.delete(f"{PATH}/{capability}"), 404, "integration_not_found")
        problem(await idle_api.client.get(f"{PATH}/{capability}"), 404, "integration_not_found")
    assert await _stored(conn) == {}
    assert (await idle_api.client.get(PATH)).json() == {"items": []}


async def test_the_guide_s_example_by_sql_is_valid_as_it_stands(idle_api: Api, conn: asyncpg.Connection) -> None:
    await conn.execute("UPDATE bf_shared.tenant_config SET apg_integrations = $1", json.dumps(GUIDE))
    for capability, stored in GUIDE.items():
        document = await get(idle_api, capability)
        assert document["valid"], document
        assert document | stored == document
        again = await put(idle_api, capability, stored)
        assert again.status_code == 200, again.text


async def test_a_change_has_history_and_audit_of_who_made_it(idle_api: Api, conn: asyncpg.Connection) -> None:
    await put(idle_api, "auth_rbac", {"enabled": True})
    before = await conn.fetchval("SELECT count(*) FROM bf_control.audit")
    answer = await put(idle_api, "auth_rbac", {"enabled": False, "realm": "acme"})
    assert answer.status_code == 200, answer.text
    assert await conn.fetchval("SELECT count(*) FROM bf_control.audit") == before + 1
    row = dict(await conn.fetchrow(_AUDIT))
    assert row["actor"].startswith("key:")
    assert (row["action"], row["target"]) == ("integration.change", "tenant/acme_corp/integration/auth_rbac")
    assert row["request_id"] == answer.headers["x-request-id"]
    assert json.loads(row["before"]) == {"settings": {"enabled": True}, "credentials": []}
    assert json.loads(row["after"])["settings"] == {"enabled": False, "realm": "acme"}
    assert tuple(await conn.fetchrow(_HISTORY)) == ("api", row["actor"], ["integrations"])
    await idle_api.client.delete(f"{PATH}/auth_rbac")
    row = dict(await conn.fetchrow(_AUDIT))
    assert (row["action"], row["after"]) == ("integration.delete", None)
    assert (await conn.fetchrow(_HISTORY))["source"] == "api"


async def test_what_changes_nothing_leaves_no_trace(idle_api: Api, superuser: asyncpg.Connection) -> None:
    body = {"enabled": True, "credentials": {"api_key": "k"}}
    await put(idle_api, "auth_rbac", body)
    before = await _but_reads(superuser), await get(idle_api, "auth_rbac")
    for same in (body, {"enabled": True}, {"enabled": True, "credentials": {"token": None}}):
        assert (await put(idle_api, "auth_rbac", same)).status_code == 200
    dry = await put(idle_api, "auth_rbac", {"enabled": False, "credentials": {"api_key": "x"}}, validate_only="true")
    assert (dry.status_code, dry.json()["enabled"], "etag" in dry.headers) == (200, False, False)
    assert (await put(idle_api, "document_management", {}, validate_only="true")).status_code == 200
    gone = await idle_api.client.delete(f"{PATH}/auth_rbac", params={"validate_only": "true"})
    assert gone.status_code == 204
    assert (await _but_reads(superuser), await get(idle_api, "auth_rbac")) == before


async def _but_reads(superuser: asyncpg.Connection) -> dict[str, int]:
    """Looking at which credentials are set is in the audit trail."""
    reads = await superuser.fetchval("SELECT count(*) FROM bf_control.audit WHERE action = 'secrets.read'")
    counted = await tables.counts(superuser)
    return {**counted, "bf_control.audit": counted["bf_control.audit"] - reads}


async def test_a_put_over_what_is_there_needs_its_etag(idle_api: Api) -> None:
    path = f"{PATH}/auth_rbac"
    problem(await idle_api.client.put(path, json={}, headers={"If-Match": "*"}), 412, "precondition_failed")
    made = await idle_api.client.put(path, json={"realm": "a"}, headers={"If-None-Match": "*"})
    assert made.status_code == 201
    problem(await idle_api.client.put(path, json={}), 428, "precondition_required")
    problem(await idle_api.client.put(path, json={}, headers={"If-None-Match": "*"}), 412, "precondition_failed")
    problem(await idle_api.client.put(path, json={}, headers={"If-Match": '"other"'}), 412, "precondition_failed")
    changed = await idle_api.client.put(path, json={"realm": "b"}, headers={"If-Match": made.headers["etag"]})
    assert (changed.status_code, changed.json()["realm"]) == (200, "b")
    late = {"If-Match": made.headers["etag"]}
    problem(await idle_api.client.put(path, json={"realm": "c"}, headers=late), 412, "precondition_failed")
    problem(await idle_api.client.delete(path, headers=late), 412, "precondition_failed")
    unchanged = await idle_api.client.get(path, headers={"If-None-Match": changed.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert (await idle_api.client.delete(path, headers={"If-Match": changed.headers["etag"]})).status_code == 204


_BAD: list[tuple[str, Any, str]] = [
    ("auth_rbac", {"enabled": "yes"}, "/enabled"),
    ("auth_rbac", {"enabled": None}, "/enabled"),
    ("auth_rbac", {"Enabled": True}, "/Enabled"),
    ("auth_rbac", {"level": "detailed"}, "/level"),
    ("auth_rbac", {"realm": ""}, "/realm"),
    ("auth_rbac", {"realm": "a\0"}, "/realm"),
    ("auth_rbac", {"realm": "x://u:p@h"}, "/realm"),
    ("auth_rbac", {"realm": "x" * 256}, "/realm"),
    ("audit_compliance", {"level": "Very"}, "/level"),
    ("audit_compliance", {"level": 3}, "/level"),
    ("audit_compliance", {"models": []}, "/models"),
    ("ai_orchestration", {"models": ["a", ""]}, "/models/1"),
    ("ai_orchestration", {"models": ["a", "a"]}, "/models"),
    ("ai_orchestration", {"models": "forecasting"}, "/models"),
    ("ai_orchestration", {"models": ["a"] * 101}, "/models"),
    ("document_management", {"realm": "x"}, "/realm"),
    ("notification_engine", {"endpoint": 7}, "/endpoint"),
    ("notification_engine", {"endpoint": "https://h/" + "x" * 2048}, "/endpoint"),
    ("auth_rbac", {"credentials": None}, "/credentials"),
    ("auth_rbac", {"credentials": "hush"}, "/credentials"),
    ("auth_rbac", {"credentials": {"passwort": "hush"}}, "/credentials/passwort"),
    ("auth_rbac", {"credentials": {"password": ""}}, "/credentials/password"),
    ("auth_rbac", {"credentials": {"password": 1}}, "/credentials/password"),
    ("auth_rbac", {"credentials": {"password": "x" * 16385}}, "/credentials/password"),
    ("auth_rbac", {"password": "hush"}, "/password"),
]


async def test_a_wrong_document_is_422_with_a_pointer_and_changes_nothing(
    idle_api: Api, superuser: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    before = await tables.counts(superuser)
    for capability, body, pointer in _BAD:
        with subtests.test(f"{capability} {body!r}"[:60]):
            answer = await put(idle_api, capability, body)
            errors = problem(answer, 422, "validation_failed")["errors"]
            assert [error["pointer"] for error in errors] == [pointer]
            assert "hush" not in answer.text
    for raw, status in ((b"[]", 422), (b"null", 422), (b"{", 400), (b'{"realm": "\\ud800"}', 422)):
        with subtests.test(repr(raw)):
            headers = {"Content-Type": "application/json"}
            problem(await idle_api.client.put(f"{PATH}/auth_rbac", content=raw, headers=headers), status)
    with subtests.test("unknown capability"):
        answer = await idle_api.client.put(f"{PATH}/teleport", json={})
        (error,) = problem(answer, 422, "validation_failed")["errors"]
        assert error["pointer"] == "path/capability"
        assert "auth_rbac" in error["detail"]
        assert "auth_rbac" in problem(await idle_api.client.get(f"{PATH}/teleport"), 404)["detail"]
        problem(await idle_api.client.get(f"{PATH}/%00"), 404)
    assert await tables.counts(superuser) == before


async def test_what_sql_wrote_before_it_was_checked_is_read_as_it_is_with_why(
    idle_api: Api, conn: asyncpg.Connection
) -> None:
    stored = {
        "teleport": {"to": "mars"},
        "auth_rbac": {"enabled": True, "endpoint": "http://10.0.0.1/", "region": "eu"},
        "audit_compliance": [1, None],
        "ai_orchestration": {"enabled": "yes", "models": ["forecasting"]},
        "document_management": {"endpoint": "https://10.0.0.1"},
        "": None,
    }
    await conn.execute(AS_BEFORE)
    await conn.execute("UPDATE bf_shared.tenant_config SET apg_integrations = $1", json.dumps(stored))
    await conn.execute(AS_NOW)
    listed = {one["capability"]: one for one in (await idle_api.client.get(PATH)).json()["items"]}
    assert {name: one["stored"] for name, one in listed.items()} == stored
    assert not any(one["valid"] for one in listed.values())
    assert [error["pointer"] for error in listed["auth_rbac"]["errors"]] == ["/region"]
    assert (listed["auth_rbac"]["enabled"], listed["auth_rbac"]["endpoint"]) == (True, "http://10.0.0.1/")
    assert [error["pointer"] for error in listed["document_management"]["errors"]] == ["/endpoint"]
    assert (listed["ai_orchestration"]["enabled"], listed["ai_orchestration"]["models"]) == (None, ["forecasting"])
    assert await get(idle_api, "teleport") == listed["teleport"]
    assert (await put(idle_api, "audit_compliance", {"level": "detailed"})).status_code == 200
    assert (await idle_api.client.delete(f"{PATH}/teleport")).status_code == 204
    del stored["teleport"]
    assert await _stored(conn) == stored | {"audit_compliance": {"level": "detailed"}}


async def test_the_state_decides_whether_it_may_be_changed(
    idle_api: Api, conn: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    await suspend(conn)
    assert (await put(idle_api, "auth_rbac", {})).status_code == 201
    await conn.execute(_FORBIDDING)
    for state in ("provisioning", "failed", "deleted", "purging"):
        with subtests.test(state):
            path = f"/v1/tenants/t_{state}/integrations"
            problem(await idle_api.client.put(f"{path}/auth_rbac", json={}), 409, "tenant_state_forbids")
            problem(await idle_api.client.delete(f"{path}/auth_rbac"), 409, "tenant_state_forbids")
            assert (await idle_api.client.get(path)).json() == {"items": []}
            problem(await idle_api.client.get(f"{path}/auth_rbac"), 404, "integration_not_found")
            problem(await idle_api.client.post(f"{path}/auth_rbac/check"), 404, "integration_not_found")
    for path in ("/v1/tenants/nobody/integrations", "/v1/tenants/No Body/integrations"):
        problem(await idle_api.client.get(path), 404, "tenant_not_found")
        problem(await idle_api.client.put(f"{path}/auth_rbac", json={}), 404, "tenant_not_found")


async def test_changes_at_once_lose_nothing(idle_api: Api, conn: asyncpg.Connection) -> None:
    """Two capabilities are two documents, of one column."""
    answers = await asyncio.gather(*(put(idle_api, capability, body) for capability, body in DOCUMENTS.items()))
    assert [answer.status_code for answer in answers] == [201] * len(DOCUMENTS)
    assert await _stored(conn) == DOCUMENTS
    etag = (await idle_api.client.get(f"{PATH}/auth_rbac")).headers["etag"]
    answers = await asyncio.gather(*(put(idle_api, "auth_rbac", {"realm": f"r{n}"}, etag) for n in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412, 412]


async def test_another_tenant_has_its_own(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn, "other")
    await put(idle_api, "auth_rbac", {"endpoint": ENDPOINT, "credentials": {"token": "t"}})
    assert (await idle_api.client.get("/v1/tenants/other/integrations")).json() == {"items": []}
