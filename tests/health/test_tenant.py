"""GET /v1/tenants/{id}/health: a verdict, why, and the call that mends it; how it grows, and until when."""

import json
from datetime import date, timedelta
from typing import Any

import asyncpg
import httpx
import pytest

from app.apikeys.model import Role
from app.isolation import service as isolation
from app.schema.script import Target
from tests.support.api import Api
from tests.support.data import LATEST, make_tenant, suspend
from tests.support.polling import ended, insisting
from tests.support.problems import problem
from tests.support.rows import fill

_PATH = "/v1/tenants/acme_corp"
_SNAPSHOT = """
INSERT INTO bf_control.schema_snapshot AS s
    (tenant_id, taken_at, measured_at, total_bytes, heap_bytes, index_bytes, toast_bytes, live_rows, dead_rows,
     table_count, index_count, invalid_indexes, unused_indexes, missing_tables, missing_indexes, open_tables)
VALUES ('acme_corp', now(), now(), $1, 0, 0, 0, $2, $3, 6, 20, $4, 0, '{}', $5, $6)
    ON CONFLICT (tenant_id) DO UPDATE
   SET total_bytes = $1, live_rows = $2, dead_rows = $3, invalid_indexes = $4, missing_indexes = $5, open_tables = $6
"""
_SAMPLE = """
INSERT INTO bf_control.size_history (tenant_id, taken_at, total_bytes, live_rows, dead_rows, tables)
VALUES ('acme_corp', now() - $1::interval, $2, $3, 0, $4)
"""


async def _health(api: Api) -> dict[str, Any]:
    answer = await api.client.get(f"{_PATH}/health")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    statuses = {check["status"] for check in told["checks"].values()}
    assert told["status"] == next(status for status in ("fail", "warn", "pass") if status in statuses)
    for name, check in told["checks"].items():
        assert (check["reason"] is None) == (check["status"] == "pass"), name
    return told


async def _snapshot(
    conn: asyncpg.Connection,
    *,
    total: int = 400_000,
    live: int = 100,
    dead: int = 0,
    invalid: int = 0,
    missing: tuple[str, ...] = (),
    unsafe: tuple[str, ...] = (),
) -> None:
    await conn.execute(_SNAPSHOT, total, live, dead, invalid, list(missing), list(unsafe))


def _mend(told: dict[str, Any], check: str) -> str | None:
    mend = told["checks"][check]["mend"]
    return None if mend is None else f"{mend['method']} {mend['path']}"


async def test_a_tenant_that_is_well(api: Api, conn: asyncpg.Connection) -> None:
    assert (await insisting(api.provision)).status_code == 201
    await _snapshot(conn)
    told = await _health(api)
    assert (told["tenant_id"], told["status"], told["growth"]) == ("acme_corp", "pass", None)
    assert {name: check["observed"] for name, check in told["checks"].items()} == {
        "state": "active", "schema_version": LATEST, "last_operation": "succeeded", "catalogue": "as it was made",
        "isolation": 0, "limits": 0, "tables": 6, "size": 400_000, "dead_rows": 0,
    }  # fmt: skip
    again = await api.client.get(f"{_PATH}/health")
    same = await api.client.get(f"{_PATH}/health", headers={"If-None-Match": again.headers["etag"]})
    assert same.status_code == 304


async def test_before_anything_was_seen_of_it_there_is_a_verdict(idle_api: Api) -> None:
    await idle_api.client.put(_PATH, json={"tenant_name": "ACME"})
    told = await _health(idle_api)
    assert (told["status"], told["limits"], told["growth"]) == ("warn", [], None)
    assert _mend(told, "state") == f"GET {(await idle_api.client.get(_PATH)).json()['last_operation']}"
    problem(await idle_api.client.get("/v1/tenants/nobody/health"), 404, "tenant_not_found")


async def test_each_state_names_the_way_out(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await suspend(conn)
    assert _mend(await _health(idle_api), "state") == f"POST {_PATH}/resume"
    await idle_api.client.delete(_PATH)
    told = await _health(idle_api)
    assert (told["checks"]["state"]["observed"], _mend(told, "state")) == ("deleted", f"POST {_PATH}/restore")
    assert (await idle_api.client.post(f"{_PATH}/restore")).status_code == 200
    assert (await idle_api.client.post(f"{_PATH}/resume")).status_code == 200
    assert (await _health(idle_api))["status"] == "pass"


async def test_a_failed_tenant_says_why_and_the_same_request_mends_it(idle_api: Api) -> None:
    accepted = await insisting(lambda: idle_api.client.put(_PATH, json={"tenant_name": "ACME"}))
    await idle_api.client.post(f"{accepted.headers['operation-location']}/cancel")
    told = await _health(idle_api)
    assert (told["status"], _mend(told, "state")) == ("fail", f"PUT {_PATH}")
    assert "cancel" in told["checks"]["state"]["reason"]
    again = await idle_api.client.put(_PATH, json={"tenant_name": "ACME"})
    assert again.status_code == 202
    assert (await _health(idle_api))["checks"]["state"]["observed"] == "provisioning"


async def test_an_older_version_is_upgraded(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("UPDATE bf_control.tenant SET schema_version = 0")
    assert _mend(await _health(idle_api), "schema_version") == "POST /v1/schema/upgrade"


async def test_what_has_drifted_is_named_and_the_mend_mends_it(api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    await conn.execute("DROP INDEX bf_acme_corp.idx_acme_corp_budgets_status")
    verifying = await api.client.post("/v1/schema/verify")
    await ended(api.client, verifying.headers["operation-location"])
    told = await _health(api)
    assert "idx_acme_corp_budgets_status" in told["checks"]["catalogue"]["reason"]
    assert _mend(told, "catalogue") == f"POST {_PATH}/repair"
    repairing = await api.client.post(f"{_PATH}/repair")
    await ended(api.client, repairing.headers["operation-location"])
    assert (await _health(api))["checks"]["catalogue"]["observed"] == "verified"


async def test_a_table_that_shows_its_rows_fails(idle_api: Api, conn: asyncpg.Connection) -> None:
    for tenant_id in ("acme_corp", "globex"):
        await make_tenant(conn, tenant_id)
    await conn.execute("ALTER TABLE bf_acme_corp.budgets NO FORCE ROW LEVEL SECURITY")
    await isolation.check(idle_api.database, Target())
    told = await _health(idle_api)
    assert (told["status"], told["checks"]["isolation"]["observed"]) == ("fail", 1)
    assert "bf_acme_corp.budgets" in told["checks"]["isolation"]["reason"]
    assert _mend(told, "isolation") == f"POST {_PATH}/repair"
    neighbour = (await idle_api.client.get("/v1/tenants/globex/health")).json()
    assert neighbour["status"] == "pass", "what is wrong is another's"


@pytest.mark.parametrize(
    ("seen", "check", "status", "said"),
    [
        ({"invalid": 1}, "tables", "warn", "1 invalid"),
        ({"missing": ("idx_x",)}, "tables", "warn", "idx_x is missing"),
        ({"unsafe": ("budgets",)}, "tables", "fail", "row-level security of budgets"),
        ({"live": 20_000, "dead": 15_000}, "dead_rows", "warn", "autovacuum"),
    ],
)
async def test_what_collectors_saw_of_its_tables(
    idle_api: Api, conn: asyncpg.Connection, seen: dict[str, Any], check: str, status: str, said: str
) -> None:
    await make_tenant(conn)
    await _snapshot(conn, **seen)
    found = (await _health(idle_api))["checks"][check]
    assert (found["status"], said in found["reason"]) == (status, True)
    assert found["mend"] is not None
    await _snapshot(conn)
    assert (await _health(idle_api))["status"] == "pass"


async def test_an_operation_that_failed_since_can_be_tried_again(idle_api: Api, conn: asyncpg.Connection) -> None:
    await make_tenant(conn)
    accepted = await idle_api.client.post(f"{_PATH}/repair")
    assert (await _health(idle_api))["status"] == "pass"
    failing = "UPDATE bf_control.operation SET status = 'failed', finished_at = now(), error = $1 WHERE id = $2"
    operation_id = accepted.json()["id"]
    await conn.execute(failing, json.dumps({"title": "T", "detail": "no room", "code": "x"}), operation_id)
    told = await _health(idle_api)
    assert (told["status"], told["checks"]["failed_operation"]["reason"]) == ("warn", "no room")
    assert _mend(told, "failed_operation") == f"POST /v1/operations/{operation_id}/retry"


async def test_a_limit_that_is_near_says_how_near(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await fill(superuser, rows=8)
    await idle_api.client.patch(f"{_PATH}/limits", json={"max_budgets": 10})
    told = await _health(idle_api)
    assert "8 of 10 of max_budgets (80 percent)" in told["checks"]["limits"]["reason"]
    assert _mend(told, "limits") == f"PATCH {_PATH}/limits"
    first = told["limits"][0]
    assert first == {
        "name": "max_budgets", "used": 8, "allowed": 10, "percentage": 80.0, "per_day": None, "reached_on": None,
    }  # fmt: skip
    await idle_api.client.patch(f"{_PATH}/limits", json={"max_budgets": 11})
    assert (await _health(idle_api))["status"] == "pass"


async def test_growth_says_when_a_limit_is_reached(
    idle_api: Api, conn: asyncpg.Connection, superuser: asyncpg.Connection
) -> None:
    await make_tenant(conn)
    await fill(superuser, rows=8)
    await idle_api.client.patch(f"{_PATH}/limits", json={"max_budgets": 16, "max_budget_lines": 100, "storage_mb": 7})
    mib = 1024 * 1024
    for age, megabytes, budgets, lines in ((40, 9, 100, 0), (4, 1, 4, 8), (2, 2, 6, 8), (0, 3, 8, 8)):
        tables = {"budgets": [mib, budgets], "budget_lines": [mib, lines]}
        await conn.execute(_SAMPLE, timedelta(days=age), megabytes * mib, budgets + lines, json.dumps(tables))
    await conn.execute("DELETE FROM bf_control.size_history WHERE taken_at < now() - interval '31 days'")
    await _snapshot(conn, total=3 * mib)
    told = await _health(idle_api)
    today = date.fromisoformat((await conn.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")).isoformat())
    by_name = {limit["name"]: limit for limit in told["limits"]}
    # A budget a day, of eight that are left; a quarter of a MB more than that, and half a MB a day.
    assert by_name["max_budgets"]["per_day"] == pytest.approx(1, rel=0.01)
    assert date.fromisoformat(by_name["max_budgets"]["reached_on"]) - today in (timedelta(days=8), timedelta(days=9))
    assert date.fromisoformat(by_name["storage_mb"]["reached_on"]) - today in (timedelta(days=8), timedelta(days=9))
    assert (by_name["max_budget_lines"]["per_day"], by_name["max_budget_lines"]["reached_on"]) == (0, None)
    growth = told["growth"]
    assert growth["bytes_per_day"] == pytest.approx(mib / 2, rel=0.01)
    assert [sample["total_bytes"] // mib for sample in growth["samples"]] == [1, 2, 3]


async def test_whose_business_it_is(idle_api: Api, conn: asyncpg.Connection) -> None:
    for tenant_id in ("acme_corp", "globex"):
        await make_tenant(conn, tenant_id)
    own = await idle_api.key(Role.VIEWER, tenant_id="acme_corp")
    transport = httpx.ASGITransport(idle_api.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": own}) as caller:
        assert (await caller.get(f"{_PATH}/health")).status_code == 200
        problem(await caller.get("/v1/tenants/globex/health"), 404, "tenant_not_found")
